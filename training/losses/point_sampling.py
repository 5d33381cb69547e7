"""Compare masks at sampled points instead of at every pixel (PointRend, arXiv:1912.08193, sections 3.1 and 4.1).

Points are xy in 0..1 of the image; pixel centres lie at (i + 0.5) / size, and beyond the border everything is zero. So
a prediction at stride 4 and a target at full resolution are sampled at the same places without resizing either.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .random_source import RandomSource

_LARGEST_COPY = 2**24  # pixels


def at_least_float32(tensor: Tensor) -> Tensor:
    """Widen half precision; sampled with coordinates of 8 or 11 bits, a mask would be smeared over several pixels."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Sample (N, C, H, W) float maps bilinearly at (N, P, 2) points, differentiably: (N, C, P)."""
    grid = 2 * points.to(maps.dtype) - 1
    return F.grid_sample(maps, grid[:, None], align_corners=False)[:, :, 0]


@torch.no_grad()
def sample_masks(masks: Tensor, points: Tensor, dtype: torch.dtype, *, rows: Tensor | None = None) -> Tensor:
    """Sample (T, H, W) bool masks bilinearly.

    Args:
        masks: (T, H, W) bool.
        points: (P, 2), the same for all masks, or (N, P, 2) together with ``rows``.
        dtype: of the result and of the arithmetic.
        rows: (N,) int64, which mask the n-th points belong to; a mask may come several times, or never.

    Returns:
        (T, P), or (N, P) where ``rows`` is given.
    """
    height, width = masks.shape[-2:]
    # Few at a time: all of them at full resolution as floats would be the largest tensor of a training step.
    few = max(1, _LARGEST_COPY // (height * width))
    if rows is None:
        parts = [sample_points(some[None].to(dtype), points[None])[0] for some in masks.split(few)]
    else:
        parts = [
            sample_points(masks[some, None].to(dtype), of_some)[:, 0]
            for some, of_some in zip(rows.split(few), points.split(few), strict=True)
        ]
    return torch.cat(parts)


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
