"""Problems for the attention operator on the device of these tests, and the truth about them: gathered in float64, without
any kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.ops import ms_deform_attn
from tests.engine.ops.attention_problem import problem
from tests.gpu.device import DEVICE

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 2**-9, torch.bfloat16: 2**-6}
_TIE = 1e-3  # pixels


def on_device(dtype: torch.dtype, locations_dtype: torch.dtype | None = None, **size) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a random problem without ties, its shapes on the CPU.

    Args:
        dtype: of value.
        locations_dtype: of locations and weights, where it is another.
        size: what `problem` takes.
    """
    value, shapes, locations, weights = problem(**size)
    beside = locations_dtype or dtype
    locations = _without_ties(locations.to(beside), shapes)
    return value.to(DEVICE, dtype), shapes, locations.to(DEVICE), weights.to(DEVICE, beside)


def _without_ties(locations: Tensor, shapes: Tensor) -> Tensor:
    """Draw those locations again that fall on the centre of a pixel: the derivative there is the one to its left or right.

    Few numbers in half precision lie between 0 and 1, so that it happens often.
    """
    generator = torch.Generator().manual_seed(2)
    sizes = shapes.flip(1).view(-1, 1, 2)  # (L, 1, 2) columns, rows
    while True:
        place = locations.double() * sizes - 0.5
        ties = (place - place.round()).abs() < _TIE
        if not ties.any():
            return locations
        drawn = torch.rand(locations.shape, generator=generator, dtype=torch.float64) * 1.6 - 0.3
        locations = torch.where(ties, drawn.to(locations.dtype), locations)


def gathered(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Compute equation 3 of Deformable DETR by indexing; differentiable by autograd."""
    batch, queries, heads = weights.shape[:3]
    images = torch.arange(batch, device=value.device).view(-1, 1, 1, 1)
    head = torch.arange(heads, device=value.device).view(1, 1, -1, 1)
    total = value.new_zeros(batch, queries, heads, value.shape[-1])
    start = 0
    for level, (rows, columns) in enumerate(shapes.tolist()):
        x, y = (locations[:, :, :, level] * locations.new_tensor([columns, rows]) - 0.5).unbind(-1)  # (B, Q, M, P)
        for row in (y.floor(), y.floor() + 1):
            for column in (x.floor(), x.floor() + 1):
                on_map = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
                share = (1 - (y - row).abs()) * (1 - (x - column).abs()) * weights[:, :, :, level]
                position = start + (row * columns + column).where(on_map, torch.zeros_like(row)).long()
                corner = value[images, position, head]  # (B, Q, M, P, D)
                total = total + (corner * (share * on_map)[..., None]).sum(3)
        start += rows * columns
    return total.flatten(2)


def solved(way, given: tuple[Tensor, Tensor, Tensor, Tensor], *, rounded_to: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """Return the output and the gradients of value, locations and weights for a fixed gradient of the output.

    That gradient is rounded to the type of value, or to another, so that a float64 truth starts from the same numbers.
    """
    value, shapes, locations, weights = given
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    output = way(inputs[0], shapes, inputs[1], inputs[2])
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(rounded_to or value.dtype)
    return output.detach(), *torch.autograd.grad(output, inputs, grad.to(output))


def assert_exact(given: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """Hold the operator's output and gradients against float64: each may be wrong by its own rounding."""
    doubles = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in given)
    exact = solved(gathered, doubles, rounded_to=given[0].dtype)
    for ours, truth in zip(solved(ms_deform_attn, given), exact, strict=True):
        assert (ours.double() - truth).abs().max() <= BOUNDS[ours.dtype] * truth.abs().max()
