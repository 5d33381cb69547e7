"""From what a model predicts of its queries to class scores and panoptic segments (Mask2Former, arXiv 2112.01527, appendix).

Probabilities of classes are (Q, classes) here, however the model classifies; `class_probabilities` makes them of its logits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model.config import Classification
from engine.model.postprocess import Size


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its number there, its class, and whether that is a thing."""

    id: int
    label: int
    is_thing: bool


@dataclass(frozen=True)
class PanopticSegmentation:
    """A panoptic map.

    Attributes:
        map: (H, W) int32, the number of each pixel's segment; 0 where there is none.
        segments: in the order of their numbers, which start at 1.
    """

    map: Tensor
    segments: list[Segment]


def class_probabilities(class_logits: Tensor, classification: Classification) -> Tensor:
    """Return the probability of each class: (..., classes), or (..., classes + 1) for a softmax, to (..., classes)."""
    return class_logits.sigmoid() if classification == "sigmoid" else class_logits.softmax(-1)[..., :-1]


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """Let the classes (..., classes) of a query, each of which has a probability of its own, compete for it.

    Such probabilities are made for detection, and too blurred where each pixel is to have one class; official Mask DINO calls
    this ``transform_eval``.
    """
    return (probabilities / temperature).softmax(-1)


def enlarge(logits: Tensor, padded_size: Size, image_size: Size, output_size: Size) -> Tensor:
    """Enlarge maps (N, h, w) to the padded image, cut the image out, and bring it to the size wanted: (N, H, W)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half precision would blur the borders
    logits = _resampled(logits, padded_size)[..., : image_size[0], : image_size[1]]
    return _resampled(logits, output_size)


def semantic_scores(probabilities: Tensor, mask_logits: Tensor) -> Tensor:
    """Sum the masks of the queries by class: (Q, classes) and (Q, H, W) -> (classes, H, W)."""
    return torch.einsum("qc,qhw->chw", probabilities, mask_logits.sigmoid())


def panoptic_segmentation(
    probabilities: Tensor, mask_logits: Tensor, *, things: Collection[int], overlap_threshold: float = 0.8
) -> PanopticSegmentation:
    """Give each pixel to one query, and leave out the queries that lose too much of their mask to others.

    Args:
        probabilities: (Q, classes) of the queries that are sure enough to be something.
        mask_logits: (Q, H, W).
        things: classes of which each query is a segment of its own; those of other classes are merged into one segment.
        overlap_threshold: share of a query's mask (probability 0.5 or more) that has to be left to it.
    """
    scores, best = probabilities.max(-1)
    labels, masks = best.tolist(), mask_logits.sigmoid()
    numbers = torch.zeros(mask_logits.shape[-2:], dtype=torch.int32, device=mask_logits.device)
    segments: list[Segment] = []
    if not labels:
        return PanopticSegmentation(numbers, segments)
    owners = (scores[:, None, None] * masks).argmax(0)
    stuff: dict[int, int] = {}
    for index, label in enumerate(labels):
        owned, drawn = owners == index, masks[index] >= 0.5
        segment = owned & drawn
        if not segment.any() or int(owned.sum()) / int(drawn.sum()) < overlap_threshold:
            continue
        number = stuff.get(label)
        if number is None:
            number = len(segments) + 1
            segments.append(Segment(number, label, label in things))
            if label not in things:
                stuff[label] = number
        numbers[segment] = number
    return PanopticSegmentation(numbers, segments)


def _resampled(maps: Tensor, size: Size) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
