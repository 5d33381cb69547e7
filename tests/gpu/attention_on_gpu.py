"""The attention operator on a GPU, and the truth about it: gathered in float64, without any kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.ops import ms_deform_attn
from tests.ops.attention_problem import problem

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 2**-9, torch.bfloat16: 2**-6}


def on_gpu(dtype: torch.dtype, points: torch.dtype | None = None, **size) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a random problem on the first GPU, its shapes on the CPU; locations and weights of the type of `points`."""
    value, shapes, locations, weights = problem(**size)
    points = points or dtype
    return value.to("cuda", dtype), shapes, locations.to("cuda", points), weights.to("cuda", points)


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


def solved(way, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Return the output and the gradients of value, locations and weights for a fixed gradient of the output."""
    value, shapes, locations, weights = given
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    output = way(inputs[0], shapes, inputs[1], inputs[2])
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
    return output.detach(), *torch.autograd.grad(output, inputs, grad)


def assert_exact(given: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """Hold the operator's output and gradients against float64: each may be wrong by its own rounding."""
    exact = solved(gathered, tuple(t.double() if t.is_floating_point() else t for t in given))
    for ours, truth in zip(solved(ms_deform_attn, given), exact, strict=True):
        assert (ours.double() - truth).abs().max() <= BOUNDS[ours.dtype] * truth.abs().max()
