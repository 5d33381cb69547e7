"""A dense loss beside Mask DINO's own: it tells every pixel of a crop whether it is roof, and whether a wall runs there.

Queries reach few pixels a step, so a model that starts from nothing learns its per-pixel embeddings slowly. A linear reading
of them, trained beside the queries and thrown away afterwards, gives each pixel a gradient from the first step on (as the
semantic loss of YOLACT, arXiv:1904.02689, section 4.3, and the border class of building segmentation).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .target import Target

_STRIDE = 4


class DenseGuide(nn.Module):
    """Read roof and wall off per-pixel embeddings, and measure how wrong they are.

    Args:
        mask_dim: width of the embeddings.
        weight: of the loss in the total.
    """

    def __init__(self, mask_dim: int, *, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.read = nn.Conv2d(mask_dim, 2, 1)

    def forward(self, pixels: Tensor, targets: Sequence[Target]) -> Tensor:
        """Return the weighted loss of embeddings (B, mask_dim, H/4, W/4) against targets with masks of (H, W).

        It is the average over the cells that ``known_cells`` counts.
        """
        size = (pixels.shape[-2], pixels.shape[-1])
        wanted, known = (torch.stack([draw(target, size) for target in targets]) for draw in (roof_and_wall, known_cells))
        loss = F.binary_cross_entropy_with_logits(self.read(pixels).float(), wanted, reduction="none")
        return self.weight * loss.masked_fill(~known, 0).sum() / known.sum().clamp(min=1)


def roof_and_wall(target: Target, size: tuple[int, int]) -> Tensor:
    """Draw the share of roof in each cell, and the cells in which a building ends: (2, h, w) in 0..1.

    Args:
        target: masks without overlaps; merged ground is roof, and has no walls.
        size: h, w; cells of 4 x 4 pixels.
    """
    masks = target.masks
    numbers = (masks * torch.arange(1, len(masks) + 1, device=masks.device)[:, None, None]).sum(0)
    owners = _padded(numbers, size)[None].float()
    covered = owners > 0 if target.merged is None else (owners > 0) | _padded(target.merged, size)
    differs = F.max_pool2d(owners, 3, stride=1, padding=1) != -F.max_pool2d(-owners, 3, stride=1, padding=1)
    wall = F.max_pool2d((differs & (owners > 0)).float(), _STRIDE)
    return torch.cat([F.avg_pool2d(covered.float(), _STRIDE), wall])


def known_cells(target: Target, size: tuple[int, int]) -> Tensor:
    """Return in which cells roof and wall are known: (2, h, w) bool.

    Nothing is known of a cell with ignored ground in it, except that merged ground is roof. Where that has walls, nobody drew.
    """
    if target.ignored is None:
        return target.masks.new_ones((2, *size))
    ignored = _padded(target.ignored, size)
    roof_unknown = ignored if target.merged is None else ignored & ~_padded(target.merged, size)
    return F.max_pool2d(torch.stack([roof_unknown, ignored]).float(), _STRIDE) == 0


def _padded(ground: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad (H, W) to the right and below to the pixels of h x w cells."""
    return F.pad(ground, (0, size[1] * _STRIDE - ground.shape[1], 0, size[0] * _STRIDE - ground.shape[0]))
