"""Multi-scale deformable attention in plain PyTorch: correct on every device, and the reference for the other kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def takes(value: Tensor, locations: Tensor, weights: Tensor) -> bool:
    """Tell whether the kernel is made for such tensors: all of one type."""
    return value.dtype == locations.dtype == weights.dtype


def forward(value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Sample every level bilinearly at its locations and sum the samples by their weights.

    Shapes as in `engine.ops.ms_deform_attn`; all tensors of one dtype.
    """
    batch, queries, heads, levels, points = weights.shape
    samples = [
        _sample(level_value, locations[:, :, :, level]) for level, level_value in enumerate(_levels(value, spatial_shapes))
    ]  # L times (B*M, D, Q, P)
    flat_weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, levels * points)
    output = (torch.cat(samples, dim=-1) * flat_weights).sum(-1)  # (B*M, D, Q)
    return output.view(batch, heads * value.shape[-1], queries).transpose(1, 2).contiguous()  # (B, Q, M*D)


def backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, sampling locations and attention weights.

    The samples are drawn again instead of being kept: they are L*P times as large as the output.
    """
    batch, queries, heads, _, points = weights.shape
    width = value.shape[-1]
    # (B, Q, M*D) -> (B*M, D, Q, 1)
    grad = grad_output.view(batch, queries, heads, width).permute(0, 2, 3, 1).reshape(batch * heads, width, queries, 1)
    grad_values, grad_locations, grad_weights = [], [], []
    for level, level_value in enumerate(_levels(value, spatial_shapes)):
        grid = _grid(locations[:, :, :, level])
        sampled = F.grid_sample(level_value, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        level_weights = weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, points)
        grad_weights.append((sampled * grad).sum(1).view(batch, heads, queries, points).transpose(1, 2))
        grad_level, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad * level_weights, level_value, grid, 0, 0, False, [True, True]
        )
        # (B*M, D, H, W) -> (B, H*W, M, D)
        grad_values.append(grad_level.flatten(2).view(batch, heads, width, -1).permute(0, 3, 1, 2))
        # the grid runs over -1..1 where locations run over 0..1, hence the factor
        grad_locations.append(2 * grad_grid.view(batch, heads, queries, points, 2).transpose(1, 2))
    return (
        torch.cat(grad_values, dim=1),
        torch.stack(grad_locations, dim=3),
        torch.stack(grad_weights, dim=3),
    )


def _levels(value: Tensor, spatial_shapes: list[list[int]]) -> list[Tensor]:
    """Split (B, S, M, D) into one map a level, each (B*M, D, H, W)."""
    batch, _, heads, width = value.shape
    sizes = [height * row for height, row in spatial_shapes]
    return [
        part.permute(0, 2, 3, 1).reshape(batch * heads, width, height, row)
        for part, (height, row) in zip(value.split(sizes, dim=1), spatial_shapes, strict=True)
    ]


def _grid(locations: Tensor) -> Tensor:
    """Turn locations (B, Q, M, P, 2) in 0..1 into a grid (B*M, Q, P, 2) in -1..1."""
    return (2 * locations - 1).transpose(1, 2).flatten(0, 1)


def _sample(level_value: Tensor, locations: Tensor) -> Tensor:
    return F.grid_sample(level_value, _grid(locations), mode="bilinear", padding_mode="zeros", align_corners=False)
