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

from .point_sampling import largest_block
from .target import Target
from .target_batch import TargetBatch

_STRIDE = 4


class DenseAuxiliaryLoss(nn.Module):
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
        batch = TargetBatch.of(targets, size=(_STRIDE * size[0], _STRIDE * size[1]))
        wanted, known = roof_and_wall(batch), known_cells(batch)
        loss = F.binary_cross_entropy_with_logits(self.read(pixels).float(), wanted, reduction="none")
        return self.weight * loss.masked_fill(~known, 0).sum() / known.sum().clamp(min=1)


def roof_and_wall(targets: TargetBatch) -> Tensor:
    """Draw the share of roof in each cell of 4 x 4 pixels, and the cells in which a building ends: (B, 2, H/4, W/4) in 0..1.

    Masks do not overlap; merged ground is roof, and has no walls.
    """
    owners = _owners(targets)
    owned = owners > 0
    covered = owned if targets.merged is None else owned | targets.merged
    differs = F.max_pool2d(owners, 3, stride=1, padding=1) != -F.max_pool2d(-owners, 3, stride=1, padding=1)
    wall = F.max_pool2d((differs & owned).float(), _STRIDE)
    return torch.stack([F.avg_pool2d(covered.float(), _STRIDE), wall], dim=1)


def known_cells(targets: TargetBatch) -> Tensor:
    """Return in which cells roof and wall are known: (B, 2, H/4, W/4) bool.

    Nothing is known of a cell with ignored ground in it, except that merged ground is roof. Where that has walls, nobody drew.
    """
    height, width = targets.masks.shape[-2:]
    if targets.ignored is None:
        return targets.masks.new_ones((len(targets.counts), 2, height // _STRIDE, width // _STRIDE))
    ignored = targets.ignored
    roof_unknown = ignored if targets.merged is None else ignored & ~targets.merged
    return F.max_pool2d(torch.stack([roof_unknown, ignored], dim=1).float(), _STRIDE) == 0


def _owners(targets: TargetBatch) -> Tensor:
    """Number the instance that each pixel belongs to, from 1; 0 is none: (B, H, W) float32."""
    masks = targets.masks
    height, width = masks.shape[-2:]
    owners = torch.zeros(len(targets.counts), height, width, dtype=torch.int32, device=masks.device)
    numbers = torch.arange(1, len(masks) + 1, dtype=torch.int32, device=masks.device)[:, None, None]
    few = max(1, largest_block(masks.device) // (height * width))
    for some in zip(targets.image.split(few), masks.split(few), numbers.split(few), strict=True):
        owners.index_add_(0, some[0], some[1] * some[2])
    return owners.float()
