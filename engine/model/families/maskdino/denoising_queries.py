"""Noised ground truth that enters the decoder beside the ordinary queries while training (DN-DETR, arXiv:2203.01305)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class DenoisingQueries:
    """Hold the noised labels and boxes, P = groups * group_size slots an image.

    Group g's copy of target t of an image stands in slot ``g * group_size + t``. Slots of an image with fewer targets than
    ``group_size`` are padding.

    labels: (B, P) int64, noised class ids; anything where padding.
    boxes: (B, P, 4) cxcywh in 0..1, noised and clamped; anything where padding.
    padding: (B, P) bool, True where the slot holds nothing: the model gives it a zero embedding and a zero box logit.
    attention_mask: (P + Q, P + Q) bool, True where the row's query may not attend to the column's.
    """

    labels: Tensor
    boxes: Tensor
    padding: Tensor
    attention_mask: Tensor
    groups: int
    group_size: int
