"""The operator `maskdino::ms_deform_attn`: multi-scale deformable attention, registered once.

Deformable DETR (arXiv 2010.04159), equation 3. The operator is opaque to torch.compile and torch.export, which see its
shape function and its autograd; which kernel runs behind it is decided a call at a time (`kernels`). Autocast leaves it
alone: it takes a value in half precision beside locations and weights in float32, which is how they come out of the layers.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from engine.ops.kernels import kernel_for


def ms_deform_attn(value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor) -> Tensor:
    """Attend to a few sampled points of every feature level.

    Args:
        value: (B, S, M, D) projected features, the levels one after the other, S = sum of H_l * W_l, M heads of width D.
        spatial_shapes: (L, 2) int64, height and width of each level. Kept on the CPU it costs no synchronisation.
        sampling_locations: (B, Q, M, L, P, 2) x, y in 0..1 of each level; points outside read zeros.
        attention_weights: (B, Q, M, L, P). Locations and weights may be float32 beside a value in half precision, which
            keeps them exact where it matters.

    Returns:
        (B, Q, M*D) in the dtype of value.

    Raises:
        ValueError: where the shapes do not belong together.
    """
    batch, _, heads, _ = value.shape
    levels = len(spatial_shapes)
    expected = (batch, sampling_locations.shape[1], heads, levels, sampling_locations.shape[4])
    if sampling_locations.shape != (*expected, 2) or attention_weights.shape != expected:
        raise ValueError(
            f"sampling_locations {tuple(sampling_locations.shape)} and attention_weights "
            f"{tuple(attention_weights.shape)} do not fit value {tuple(value.shape)} and {levels} levels: "
            "expected (B, Q, M, L, P, 2) and (B, Q, M, L, P)."
        )
    return torch.ops.maskdino.ms_deform_attn(value, spatial_shapes, sampling_locations, attention_weights)


@torch.library.custom_op("maskdino::ms_deform_attn", mutates_args=())
def _forward(value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor) -> Tensor:
    shapes = _checked_shapes(value, spatial_shapes)
    kernel, *inputs = _kernel_and_inputs(value, sampling_locations, attention_weights)
    return kernel.forward(inputs[0], shapes, *inputs[1:]).to(value.dtype)


@_forward.register_fake
def _(value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor) -> Tensor:
    batch, _, heads, width = value.shape
    return value.new_empty(batch, sampling_locations.shape[1], heads * width)


@torch.library.custom_op("maskdino::ms_deform_attn_backward", mutates_args=())
def _backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = _checked_shapes(value, spatial_shapes)
    given = (value, sampling_locations, attention_weights)
    kernel, *inputs = _kernel_and_inputs(*given)
    grads = kernel.backward(grad_output.to(inputs[0].dtype).contiguous(), inputs[0], shapes, *inputs[1:])
    first, second, third = (grad.to(tensor.dtype).contiguous() for grad, tensor in zip(grads, given, strict=True))
    return first, second, third


@_backward.register_fake
def _(
    grad_output: Tensor, value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        value.new_empty(value.shape),
        sampling_locations.new_empty(sampling_locations.shape),
        attention_weights.new_empty(attention_weights.shape),
    )


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _autograd(ctx, grad_output: Tensor):
    value, spatial_shapes, locations, weights = ctx.saved_tensors
    grad_value, grad_locations, grad_weights = torch.ops.maskdino.ms_deform_attn_backward(
        grad_output, value, spatial_shapes, locations, weights
    )
    return grad_value, None, grad_locations, grad_weights


_forward.register_autograd(_autograd, setup_context=_setup_context)


def _kernel_and_inputs(value: Tensor, locations: Tensor, weights: Tensor) -> tuple[ModuleType, Tensor, Tensor, Tensor]:
    """Choose a kernel; where none takes the types as they are, bring them to the widest of them."""
    if not value.device == locations.device == weights.device:
        raise ValueError(f"value is on {value.device}, sampling_locations on {locations.device}, weights on {weights.device}.")
    points = torch.promote_types(locations.dtype, weights.dtype)
    inputs = value, locations.to(points), weights.to(points)
    kernel = kernel_for(*inputs)
    if not kernel.takes(*inputs):
        widest = torch.promote_types(value.dtype, points)
        inputs = value.to(widest), locations.to(widest), weights.to(widest)
        kernel = kernel_for(*inputs)
    return kernel, *inputs


def _checked_shapes(value: Tensor, spatial_shapes: Tensor) -> list[list[int]]:
    shapes = spatial_shapes.tolist()
    covered = sum(height * width for height, width in shapes)
    if covered != value.shape[1]:
        raise ValueError(f"spatial_shapes {shapes} cover {covered} positions, but value has {value.shape[1]}.")
    return shapes
