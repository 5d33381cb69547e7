"""How far boxes lie apart, for the loss and for the matching cost alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-6  # official Mask DINO's, in both denominators of GIoU

BoxLoss = Literal["giou", "iou", "diou", "ciou"]


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Turn centre and size into corners, (..., 4) each."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def l1_distance(boxes: Tensor, others: Tensor) -> Tensor:
    """Sum the absolute differences of the four numbers of boxes (..., 4), broadcast against each other: (...)."""
    return (boxes - others).abs().sum(-1)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the IoU of xyxy boxes (..., 4), broadcast: (...) in 0..1. Boxes that lie apart have no gradient."""
    return _overlap(boxes, others).iou


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the generalised IoU of xyxy boxes (..., 4), broadcast: (...) in -1..1 (arXiv:1902.09630)."""
    overlap = _overlap(boxes, others)
    hull = _area(overlap.hull)
    return overlap.iou - (hull - overlap.union) / (hull + _EPSILON)


def distance_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the IoU of xyxy boxes (..., 4) less their centres' distance, broadcast: (...) in -1..1.

    The distance is squared, as a share of the squared diagonal of the box around both (arXiv:1911.08287, equation 7).
    """
    overlap = _overlap(boxes, others)
    apart = (boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]) / 2
    return overlap.iou - _squared(apart) / (_squared(overlap.hull) + _EPSILON)


def complete_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the distance IoU of xyxy boxes (..., 4) less what their shapes differ by, broadcast: (...).

    The shape is the angle of the diagonal; its weight has no gradient (arXiv:1911.08287, equations 8 to 11).
    """
    difference = _diagonal_angle(boxes) - _diagonal_angle(others)
    shape = 4 / math.pi**2 * difference**2
    with torch.no_grad():
        iou = box_iou(boxes, others)
        weight = shape / (1 - iou + shape + _EPSILON)
    return distance_iou(boxes, others) - weight * shape


BOX_AGREEMENT: dict[BoxLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "giou": generalized_iou,
    "iou": box_iou,
    "diou": distance_iou,
    "ciou": complete_iou,
}


class _Overlap(NamedTuple):
    """What two boxes share: IoU and union (...), width and height of the box around both (..., 2)."""

    iou: Tensor
    union: Tensor
    hull: Tensor


def _overlap(boxes: Tensor, others: Tensor) -> _Overlap:
    shared = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    intersection = _area(shared.clamp(min=0))
    union = _area(boxes[..., 2:] - boxes[..., :2]) + _area(others[..., 2:] - others[..., :2]) - intersection
    hull = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])
    return _Overlap(intersection / (union + _EPSILON), union, hull)


def _area(size: Tensor) -> Tensor:
    # Not prod(): its gradient looks for zeros, and on a GPU that waits for the device.
    return size[..., 0] * size[..., 1]


def _squared(vector: Tensor) -> Tensor:
    return vector[..., 0] ** 2 + vector[..., 1] ** 2


def _diagonal_angle(boxes: Tensor) -> Tensor:
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    return torch.atan(width / (height + _EPSILON))
