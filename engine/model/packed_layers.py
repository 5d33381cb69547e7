"""Linear layers and convolutions whose weights lie as oneDNN wants them, packed once instead of in every call.

On an AMD processor with AVX-512 that makes the encoder's linear layers, half of all work, a sixth faster in float32 and a
sixteenth in bfloat16. torch packs weights like this when it compiles a model; the operators for it have no public name,
so with a torch that lacks them the layers compute as always.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn

# Activations that oneDNN computes while it writes a convolution's map, under its names and with its numbers.
_FUSED = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}


class PackedLinear(nn.Module):
    """A linear layer for inference on a CPU; its weight and bias stay where they were, for whoever reads the parameters.

    Args:
        linear: what it computes.
        rows: how many rows (tokens) most calls have; others are right too.
    """

    def __init__(self, linear: nn.Linear, *, rows: int) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return torch.ops.mkldnn._linear_pointwise(x.to(self.weight), self._packed, self.bias, "none", [], "")


class PackedConvolution(nn.Module):
    """A convolution for inference on a CPU; its weight and bias stay where they were, too.

    How oneDNN wants a weight depends on the size of the map. Packed for another one, it may be unpacked in every call, which
    takes several times as long as the convolution. So it is packed for the size of the last call, in practice once.

    Args:
        convolution: what it computes: a `torch.nn.Conv2d` that pads with zeros, or timm's that pads as TensorFlow does.
        activation: what follows it; None or one that oneDNN computes in the same pass.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self._kernel, self._same = convolution.kernel_size, isinstance(convolution, Conv2dSame)
        self._steps = (list(convolution.padding), list(convolution.stride), list(convolution.dilation), convolution.groups)
        self._activation = ("none", []) if activation is None else _FUSED[type(activation)]
        self._packed: tuple[list[int], Tensor | None] = ([], None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W')."""
        _, stride, dilation, _ = self._steps
        x = x.to(self.weight.dtype)
        if self._same:
            x = pad_same(x, self._kernel, stride, dilation)
        size, packed = self._packed
        if size != list(x.shape):
            size = list(x.shape)
            packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight.detach(), *self._steps, size)
            self._packed = size, packed
        return torch.ops.mkldnn._convolution_pointwise(x, packed, self.bias, *self._steps, *self._activation, "")


def can_pack(device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    """Whether packed layers of this precision work on a device, and pay."""
    operators = ("_linear_pointwise", "_reorder_linear_weight", "_convolution_pointwise", "_reorder_convolution_weight")
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and all(hasattr(torch.ops.mkldnn, name) for name in operators)
        and (dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())  # with AVX2 alone it packs float32
    )


def pack_linears(part: nn.Module, *, rows: int) -> None:
    """Put a packed layer in the place of each linear layer in a part of a model."""
    for module in list(part.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child, rows=rows))


def pack_convolutions(part: nn.Module, activations: Mapping[nn.Module, nn.Module]) -> None:
    """Put a packed layer in the place of each convolution in a part of a model.

    Args:
        part: changed in place.
        activations: what follows a convolution and nothing else; packed with it where oneDNN knows it.
    """
    fused = {convolution: after for convolution, after in activations.items() if type(after) in _FUSED}
    done = set(fused.values())
    for module in list(part.modules()):
        for name, child in list(module.named_children()):
            if type(child) in (nn.Conv2d, Conv2dSame) and child.padding_mode == "zeros" and not isinstance(child.padding, str):
                setattr(module, name, PackedConvolution(child, fused.get(child)))
            elif child in done:
                setattr(module, name, nn.Identity())
