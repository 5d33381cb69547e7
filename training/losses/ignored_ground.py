"""Ground on which instances are not judged: what a query predicts there is neither right nor wrong.

COCO's evaluation measures a detection's overlap with a crowd as a share of the detection's own area. Likewise a query that is
not matched has no part in the classification loss where more than half of what it predicts lies on such ground.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model.outputs import Prediction

from .point_sampling import at_least_float32
from .target_batch import TargetBatch

_STRIDE = 4


def ignored_share(targets: TargetBatch) -> Tensor | None:
    """Return the share of each cell of 4 x 4 pixels that is ignored: (B, H/4, W/4) in 0..1; None where nothing is."""
    return None if targets.ignored is None else F.avg_pool2d(targets.ignored.float(), _STRIDE)


@torch.no_grad()
def on_ignored_ground(prediction: Prediction, share: Tensor) -> Tensor:
    """Return which queries predict a mask that lies on ignored ground for more than half of its area: (B, Q) bool.

    Where a layer has no masks, or a mask is empty, the part of the box inside the image counts instead; without a box, nothing.

    Args:
        prediction: of B images.
        share: (B, h, w), from ``ignored_share``; h and w are those of the mask logits.
    """
    if prediction.boxes is None:
        box_area = box_ignored = share.new_zeros(prediction.class_logits.shape[:2])
    else:
        box_area, box_ignored = _box_areas(at_least_float32(prediction.boxes), share)
    if prediction.mask_logits is None:
        return box_ignored > box_area / 2
    inside = (prediction.mask_logits > 0).flatten(2).to(share.dtype)  # (B, Q, h * w)
    both = torch.stack([torch.ones_like(share), share], dim=-1).flatten(1, 2)  # (B, h * w, 2)
    area, ignored = (inside @ both).unbind(-1)
    return torch.where(area > 0, ignored > area / 2, box_ignored > box_area / 2)


def _box_areas(boxes: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Area in cells of boxes (B, Q, 4), and that of their ignored part: (B, Q) each."""
    height, width = share.shape[-2:]
    rows = _overlap_with_cells(boxes[..., 1], boxes[..., 3], height).to(share.dtype)
    columns = _overlap_with_cells(boxes[..., 0], boxes[..., 2], width).to(share.dtype)
    return rows.sum(-1) * columns.sum(-1), (rows @ share * columns).sum(-1)


def _overlap_with_cells(centre: Tensor, side: Tensor, cells: int) -> Tensor:
    """How much of each of the cells an interval covers: (B, Q) in 0..1 of the image -> (B, Q, cells) in 0..1 of a cell."""
    start = torch.arange(cells, device=centre.device)
    low, high = ((centre - side / 2) * cells)[..., None], ((centre + side / 2) * cells)[..., None]
    return (torch.minimum(high, start + 1) - torch.maximum(low, start)).clamp(min=0)
