"""Compare masks at sampled points instead of at every pixel (PointRend, arXiv:1912.08193, sections 3.1 and 4.1).

Points are xy in 0..1 of the image; pixel centres lie at (i + 0.5) / size, and beyond the border everything is zero. So
a prediction at stride 4 and a target at full resolution are sampled at the same places without resizing either.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .random_source import RandomSource


def at_least_float32(tensor: Tensor) -> Tensor:
    """Widen half precision; sampled with coordinates of 8 or 11 bits, a mask would be smeared over several pixels."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Sample (N, C, H, W) float maps bilinearly at (N, P, 2) points, differentiably: (N, C, P)."""
    grid = 2 * points.to(maps.dtype) - 1
    return F.grid_sample(maps, grid[:, None], align_corners=False)[:, :, 0]


def sample_masks(masks: Tensor, points: Tensor, dtype: torch.dtype, *, rows: Tensor | None = None) -> Tensor:
    """Sample (T, H, W) bool masks bilinearly.

    The masks are read where the points lie and nowhere else: a float copy of all masks at full resolution would be
    the largest tensor of a training step.

    Args:
        masks: (T, H, W) bool.
        points: (P, 2), the same for all masks, or (N, P, 2) together with ``rows``.
        dtype: of the result and of the arithmetic.
        rows: (N,) int64, which mask the n-th points belong to; a mask may come several times, or never.

    Returns:
        (T, P), or (N, P) where ``rows`` is given.
    """
    height, width = masks.shape[-2:]
    size = torch.tensor([width, height], dtype=dtype, device=points.device)
    x, y = (points.to(dtype) * size - 0.5).unbind(-1)
    left, top = x.floor(), y.floor()
    flat = masks.flatten(1)
    sampled: Tensor | float = 0.0
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
        weight = weight * ((column >= 0) & (column < width) & (row >= 0) & (row < height))
        pixel = row.long().clamp(0, height - 1) * width + column.long().clamp(0, width - 1)
        value = flat[:, pixel] if rows is None else flat.take(rows[:, None] * (height * width) + pixel)
        sampled = sampled + value * weight
    return sampled


@torch.no_grad()
def choose_points(
    mask_logits: Tensor, *, count: int, oversample_ratio: float, importance_ratio: float, random: RandomSource
) -> Tensor:
    """Choose (N, count, 2) points at which (N, H, W) mask logits are least certain, and some at random."""
    masks, device = len(mask_logits), mask_logits.device
    uncertain = int(importance_ratio * count)
    chosen = []
    if uncertain > 0:
        candidates = random.candidate_points(masks, int(count * oversample_ratio), device)
        certainty = sample_points(mask_logits[:, None], candidates)[:, 0].abs()  # (N, candidates)
        least = certainty.topk(uncertain, dim=1, largest=False, sorted=False).indices
        chosen.append(candidates.gather(1, least[..., None].expand(-1, -1, 2)))
    if uncertain < count:
        chosen.append(random.uniform_points(masks, count - uncertain, device))
    return torch.cat(chosen, dim=1)
