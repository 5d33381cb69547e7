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
        """Return the weighted loss of embeddings (B, mask_dim, H/4, W/4) against targets with masks of (H, W)."""
        wanted = torch.stack([roof_and_wall(target.masks, tuple(pixels.shape[-2:])) for target in targets])
        return self.weight * F.binary_cross_entropy_with_logits(self.read(pixels).float(), wanted)


def roof_and_wall(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw the share of roof in each cell, and the cells in which a building ends: (2, h, w) in 0..1.

    Args:
        masks: (N, H, W) bool, without overlaps.
        size: h, w; cells of 4 x 4 pixels.
    """
    numbers = (masks * torch.arange(1, len(masks) + 1, device=masks.device)[:, None, None]).sum(0)
    numbers = F.pad(numbers, (0, size[1] * _STRIDE - numbers.shape[1], 0, size[0] * _STRIDE - numbers.shape[0]))
    owners = numbers[None].float()
    roof = F.avg_pool2d((owners > 0).float(), _STRIDE)
    differs = F.max_pool2d(owners, 3, stride=1, padding=1) != -F.max_pool2d(-owners, 3, stride=1, padding=1)
    wall = F.max_pool2d((differs & (owners > 0)).float(), _STRIDE)
    return torch.cat([roof, wall])
