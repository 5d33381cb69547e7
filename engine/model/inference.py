"""A copy of a model that does nothing but find instances, and does it faster.

The copy's batch norms are part of its convolutions, its maps lie in memory with the channels last, and where the device is
fast at it its products are of bfloat16 numbers, summed in float32. What decides is kept in float32: the tokens that the
encoder and the decoder pass on, where attention samples, the choice of queries, scores and boxes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn

from engine.errors import ArgumentError, DeviceError
from engine.model.components import Component
from engine.model.families.family import InferenceParts
from engine.model.families.family_model import FamilyModel
from engine.model.families.registry import family_of
from engine.model.folded_norms import fold_norms
from engine.model.instance_model import InstanceModel
from engine.model.layers.feed_forward import piece_size
from engine.model.packed_layers import can_pack, pack_convolutions, pack_linears
from engine.model.postprocess import ImageInstances

Precision = Literal["auto", "float32", "bfloat16"]

LARGEST_DISTANCE = 0.01
"""Mean difference of boxes and class probabilities, both in 0..1, up to which a compiled model counts as the same one."""


class InferenceModel(nn.Module):
    """Find the instances that a model finds, with a copy of it made for that.

    Args:
        model: on its device, which the copy shares; left as it is.
        precision: of the products; ``auto`` is `best_precision`. Some networks know float32 alone.
        compile_for: (B, 3, H, W) of the batches for which torch.compile is to make one program of the network, here and now;
            it takes a minute the first time, and on a CPU a C++ compiler. What comes out is held against the network.

    Raises:
        ArgumentError: there is no such precision, or bfloat16 or a compiled network is asked of a network without.
        DeviceError: it cannot be compiled here, or computes something else when it is.
    """

    def __init__(
        self,
        model: InstanceModel,
        *,
        precision: Precision = "auto",
        compile_for: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__()
        if precision not in get_args(Precision):
            raise ArgumentError(f"precision is {precision!r}.", hint=f"It can be {', '.join(get_args(Precision))}.")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        device = next(model.parameters()).device
        self.precision = precision if precision != "auto" else best_precision(self.model)
        image = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0)) * 255
        activations = fold_norms(self.model, lambda: self.model.instances([image.to(device)]))
        parts = _parts_of(self.model)
        if self.precision == "bfloat16":
            if parts is None:
                raise ArgumentError(
                    f"precision is 'bfloat16'; {type(model).__name__} computes in float32 alone.", hint="Use auto or float32."
                )
            _use_bfloat16(parts)
            _keep_components_in_float32(self.model)
        self.model.to(memory_format=torch.channels_last)
        if compile_for is not None:
            if parts is None:
                raise ArgumentError(f"compile is asked for; {type(model).__name__} is not compiled.", hint="Leave it out.")
            _compile(self.model, parts.compiled, compile_for)
        elif parts is not None and can_pack(device, torch.bfloat16 if self.precision == "bfloat16" else torch.float32):
            for part in parts.packed:
                pack_linears(part, rows=piece_size())
            pack_convolutions(self.model, activations)
        self.header = model.header

    def instances(
        self,
        images: Tensor | Sequence[Tensor],
        *,
        count: int | None = None,
        threshold: float = 0.0,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Sequence[ImageInstances]:
        """Find the instances of each image, best first; see `engine.model.families.maskdino.model.MaskDino.instances`."""
        return self.model.instances(images, count=count, threshold=threshold, output_sizes=output_sizes)

    def semantic(
        self, images: Tensor | Sequence[Tensor], *, output_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Tensor]:
        """Score every class at every pixel, with a model that can be asked for it: (classes, H, W) of each image."""
        return self.model.semantic(images, output_sizes=output_sizes)


def best_precision(model: InstanceModel) -> Literal["float32", "bfloat16"]:
    """Return bfloat16 where a model can compute in it and its device multiplies it faster than float32, else float32."""
    device = next(model.parameters()).device
    if _parts_of(model) is None:
        return "float32"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Without these instructions a CPU emulates bfloat16 and is slower than in float32.
        fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def _parts_of(model: InstanceModel) -> InferenceParts | None:
    parts = family_of(model.config).inference_parts(model) if isinstance(model, FamilyModel) else None
    return None if parts is None else replace(parts, half=_of_ours(parts.half), packed=_of_ours(parts.packed))


def _of_ours(parts: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
    return tuple(part for part in parts if not isinstance(part, Component))


def _compile(model: InstanceModel, name: str, shape: tuple[int, int, int, int]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 255
    images = images.to(next(model.parameters()).device)
    plain = getattr(model, name)
    compiled = torch.compile(plain, fullgraph=True, dynamic=False)
    try:
        with torch.inference_mode():
            (*_, boxes, logits), (*_, plain_boxes, plain_logits) = compiled(images), plain(images)
    except RuntimeError as error:  # what torch raises where a compiler is missing or fails
        raise DeviceError(
            f"torch.compile cannot compile the model here: {str(error).strip().splitlines()[0].rstrip('.')}.",
            hint="Do without; on a CPU it needs a C++ compiler.",
        ) from error
    # Queries of almost the same score may change places. What is wrong is off by more: torch 2.14 was, by 0.29.
    pairs = (boxes, plain_boxes), (logits.sigmoid(), plain_logits.sigmoid())
    off = max((one.float().sort(1).values - other.float().sort(1).values).abs().mean().item() for one, other in pairs)
    if not off <= LARGEST_DISTANCE:
        raise DeviceError(
            f"Compiled by torch {torch.__version__} the model is wrong here: boxes or scores are off by {off:.3f} in the mean.",
            hint="Do without.",
        )
    setattr(model, name, compiled)


def _use_bfloat16(parts: InferenceParts) -> None:
    """Let convolutions, linear layers and attention compute in bfloat16, whatever they are given; layer norms in float32."""
    for part in parts.half:
        for module in part.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.MultiheadAttention)):
                module.to(torch.bfloat16).register_forward_pre_hook(_to_bfloat16)
            elif isinstance(module, nn.LayerNorm):
                module.register_forward_pre_hook(_to_float32)
            elif isinstance(module, WindowAttention):
                module.relative_position_bias_table.data = module.relative_position_bias_table.data.to(torch.bfloat16)


def _keep_components_in_float32(model: InstanceModel) -> None:
    """Give the components of other packages, which know of no bfloat16, what they are given in training."""
    for module in model.modules():
        if isinstance(module, Component):
            module.register_forward_pre_hook(
                lambda _, inputs, named: (_in_float32(inputs), _in_float32(named)), with_kwargs=True
            )


def _in_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, dict):
        return {key: _in_float32(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_in_float32(each) for each in value)
    return value


def _to_bfloat16(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.to(torch.bfloat16) for tensor in inputs)


def _to_float32(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)
