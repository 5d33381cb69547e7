"""Multi-scale deformable attention in plain PyTorch: correct on every device, and the reference for the other kernels.

What a query and head attend to is a weighted sum of rows of a table, four corners a point: an embedding bag. Torch sums
those without ever writing the samples down, which a grid_sample a level has to do. Half precision is computed in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def takes(value: Tensor, locations: Tensor, weights: Tensor) -> bool:
    """Return whether the kernel is made for such tensors: all of one type."""
    return value.dtype == locations.dtype == weights.dtype


def forward(value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Sum the corners of every point by their shares. Shapes as in `engine.ops.ms_deform_attn`; all tensors of one dtype.

    Off the map a corner counts nothing, but is read: a value that is not finite can show in any query that looks outside.
    """
    batch, queries, heads = weights.shape[:3]
    width = value.shape[-1]
    if not (weights.numel() and value.numel()):
        return value.new_zeros(batch, queries, heads * width)
    corners = _corners(value, spatial_shapes, locations)
    bags = F.embedding_bag(corners.row, _table(value), mode="sum", per_sample_weights=_counts(corners, weights))
    return bags.view(batch, queries, heads * width).to(value.dtype)


def backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, sampling locations and attention weights; the same to the last bit every time."""
    if not (weights.numel() and value.numel()):
        return torch.zeros_like(value), torch.zeros_like(locations), torch.zeros_like(weights)
    corners = _corners(value, spatial_shapes, locations)
    table = _table(value)
    grad = grad_output.reshape(len(corners.row), table.shape[1]).to(table.dtype)
    grad_table = _summed_by_row(corners.row, _counts(corners, weights), grad, len(table))
    dots = _dots(grad, table, corners.row).view(len(grad), -1, 2, 2)  # (N, L*P, y, x)
    weight = weights.reshape(len(grad), -1).to(table.dtype)

    along_x = (dots * corners.share_y[..., None]).sum(2)  # (N, L*P, x)
    along_y = (dots * corners.share_x[..., None, :]).sum(3)
    grad_weights = (along_x * corners.share_x).sum(2)
    # a share grows with the right or lower corner's, and shrinks with the other's, by one a pixel
    slope = torch.stack([_difference(along_x, corners.on_map_x), _difference(along_y, corners.on_map_y)], -1)
    grad_locations = (weight[..., None] * slope).flatten(1) * _sizes(spatial_shapes, locations, weight.dtype)
    return (
        grad_table.view(value.shape).to(value.dtype),
        grad_locations.view(locations.shape).to(locations.dtype),
        grad_weights.view(weights.shape).to(weights.dtype),
    )


class _Corners(NamedTuple):
    """Where the corners of the L*P points of N = B*Q*M queries and heads lie, and what each counts: upper or left first."""

    row: Tensor  # (N, L*P*4) of the table; upper left, upper right, lower left, lower right
    share_x: Tensor  # (N, L*P, 2), nought off the map
    share_y: Tensor
    on_map_x: Tensor  # (N, L*P, 2) bool
    on_map_y: Tensor


def _corners(value: Tensor, spatial_shapes: list[list[int]], locations: Tensor) -> _Corners:
    batch, positions, heads, _ = value.shape
    queries, levels, points = locations.shape[1], *locations.shape[3:5]
    device, dtype = value.device, torch.promote_types(value.dtype, torch.float32)
    many = max(value.numel(), 4 * locations.numel()) >= 2**31
    index = torch.int64 if many else torch.int32
    size = _sizes(spatial_shapes, locations, dtype)  # (L*P*2)
    # one axis: x and y of the points one after the other, so that each step runs over long stretches of memory
    place = locations.reshape(batch * queries * heads, -1).to(dtype) * size - 0.5
    low = place.floor()
    ahead = place - low
    share, on_map, cell = [], [], []
    for corner, part in ((low, 1 - ahead), (low + 1, ahead)):
        here = (corner >= 0) & (corner < size)
        on_map.append(here)
        share.append(part * here)
        cell.append(corner.where(here, torch.zeros((), dtype=dtype, device=device)).to(index))
    share_xy, on_map_xy = (torch.stack(pair, -1).unflatten(1, (-1, 2)).unbind(2) for pair in (share, on_map))

    counts = [rows * columns for rows, columns in spatial_shapes]
    starts = [min(sum(counts[:level]), positions - 1) for level in range(levels)]  # an empty level at the end has no row
    start, columns = (
        _a_level([number * heads for number in numbers], points, index, device)
        for numbers in (starts, [columns for _, columns in spatial_shapes])
    )  # (L*P)
    images = torch.arange(batch, device=device).view(-1, 1, 1) * positions * heads
    head = torch.arange(heads, device=device)
    first = (images + head).expand(batch, queries, heads).reshape(-1, 1).to(index)  # (N, 1)
    row = torch.empty(len(place), levels * points, 4, dtype=index, device=device)
    for n in range(4):
        across, down = cell[n % 2][:, 0::2] * heads, cell[n // 2][:, 1::2] * columns + start
        torch.add(across, down + first, out=row[..., n])
    return _Corners(row.flatten(1), share_xy[0], share_xy[1], on_map_xy[0], on_map_xy[1])


def _counts(corners: _Corners, weights: Tensor) -> Tensor:
    """Multiply the shares of each corner, and its point's weight: (N, L*P*4)."""
    weight = weights.reshape(len(corners.row), -1, 1).to(corners.share_x.dtype)
    down = corners.share_y * weight
    return (down[..., None] * corners.share_x[..., None, :]).flatten(1)


def _table(value: Tensor) -> Tensor:
    """Lay value out as rows of channels: (B*S*M, D)."""
    return value.reshape(-1, value.shape[-1]).to(torch.promote_types(value.dtype, torch.float32))


def _sizes(spatial_shapes: list[list[int]], locations: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the width and height of each point's level, nought both where it is empty: (L*P*2)."""
    filled = [sizes if all(sizes) else (0, 0) for sizes in spatial_shapes]
    axes = [_a_level([sizes[axis] for sizes in filled], locations.shape[4], dtype, locations.device) for axis in (1, 0)]
    return torch.stack(axes, -1).flatten()


def _a_level(numbers: list[int], points: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Repeat a level's number for its points: (L*P). Filled where it lies: a copy to a GPU would make it wait."""
    return torch.cat([torch.full((points,), number, dtype=dtype, device=device) for number in numbers])


def _dots(grad: Tensor, table: Tensor, row: Tensor) -> Tensor:
    """Multiply each corner's row of the table with the gradient of its bag: (N*L*P*4)."""
    bags, size = row.shape
    offsets = torch.arange(0, row.numel(), size, dtype=row.dtype, device=row.device)
    bag = torch.arange(bags, dtype=row.dtype, device=row.device).repeat_interleave(size)
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(grad, table, row.flatten(), offsets, bag, 0)


def _summed_by_row(row: Tensor, count: Tensor, grad: Tensor, rows: int) -> Tensor:
    """Sum what each row of the table gets from the bags that it is in: a bag again, once the corners are sorted by row."""
    found, order = row.flatten().sort(stable=True)
    offsets = torch.searchsorted(found, torch.arange(rows, dtype=row.dtype, device=row.device))
    bag = order.div(row.shape[1], rounding_mode="trunc")
    return F.embedding_bag(bag, grad, offsets, mode="sum", per_sample_weights=count.flatten().index_select(0, order))


def _difference(along: Tensor, on_map: Tensor) -> Tensor:
    return along[..., 1] * on_map[..., 1] - along[..., 0] * on_map[..., 0]
