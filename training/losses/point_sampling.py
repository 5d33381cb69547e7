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


class MaskSampler:
    """Sample (T, H, W) bool masks bilinearly, without a copy of them as floats, which would be the largest tensor of a step.

    A byte for each place where four pixels meet holds all four of them as bits, so a point costs one look-up.
    """

    def __init__(self, masks: Tensor) -> None:
        self._height, self._width = masks.shape[-2:]
        framed = F.pad(masks, (1, 1, 1, 1)).view(torch.uint8)
        upper, lower = framed[:, :-1], framed[:, 1:]
        left = torch.add(upper[:, :, :-1], lower[:, :, :-1], alpha=4)
        self._corners = left.add_(upper[:, :, 1:], alpha=2).add_(lower[:, :, 1:], alpha=8).flatten()  # (T * (H + 1) * (W + 1),)

    @torch.no_grad()
    def __call__(self, masks: Tensor, points: Tensor, dtype: torch.dtype) -> Tensor:
        """Return masks' values at points.

        Args:
            masks: (N, ...) int64, which of the masks; one may come several times, or never.
            points: (N, ..., P, 2) in 0..1, broadcast against ``masks``.
            dtype: of the result and of the arithmetic.

        Returns:
            (N, ..., P) in 0..1.
        """
        few = max(1, largest_block(points.device) // max(1, masks[:1].numel() * points.shape[-2]))
        parts = [self._sample(*part, dtype) for part in zip(masks.split(few), points.split(few), strict=True)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _sample(self, masks: Tensor, points: Tensor, dtype: torch.dtype) -> Tensor:
        x, y = points.to(dtype).unbind(-1)
        x, y = x * self._width + 0.5, y * self._height + 0.5  # counted from the centre of the frame's first pixel
        column, row = x.long(), y.long()
        x, y = x - column, y - row
        of_mask = masks * ((self._height + 1) * (self._width + 1))
        four = torch.take(self._corners, row * (self._width + 1) + column + of_mask[..., None])

        def pixel(bit: int) -> Tensor:
            return (four & bit).clamp(max=1).to(dtype)

        return torch.lerp(torch.lerp(pixel(1), pixel(2), x), torch.lerp(pixel(4), pixel(8), x), y)


def largest_block(device: torch.device) -> int:
    """Return how many numbers an intermediate result may have: on a CPU what stays near it, on a GPU what keeps it busy."""
    return 2**19 if device.type == "cpu" else 2**26


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
