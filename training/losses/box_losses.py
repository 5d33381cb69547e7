"""How far boxes lie apart, for the loss and for the matching cost alike."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-6  # official Mask DINO's, in both denominators


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Turn centre and size into corners, (..., 4) each."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def l1_distance(boxes: Tensor, others: Tensor) -> Tensor:
    """Sum the absolute differences of the four numbers of boxes (..., 4), broadcast against each other: (...)."""
    return (boxes - others).abs().sum(-1)


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the generalised IoU of xyxy boxes (..., 4), broadcast: (...) in -1..1 (arXiv:1902.09630)."""
    shared = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    intersection = _area(shared.clamp(min=0))
    union = _area(boxes[..., 2:] - boxes[..., :2]) + _area(others[..., 2:] - others[..., :2]) - intersection
    hull = _area(torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2]))
    return intersection / (union + _EPSILON) - (hull - union) / (hull + _EPSILON)


def _area(size: Tensor) -> Tensor:
    # Not prod(): its gradient looks for zeros, and on a GPU that waits for the device.
    return size[..., 0] * size[..., 1]
