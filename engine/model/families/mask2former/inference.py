"""From what Mask2Former says of its queries to instances, class scores and panoptic segments (arXiv 2112.01527, appendix)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model.postprocess import ChosenPairs, Size, most_probable_pairs


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


def enlarge(logits: Tensor, padded_size: Size, image_size: Size, output_size: Size) -> Tensor:
    """Enlarge maps (N, h, w) to the padded image, cut the image out, and bring it to the size wanted: (N, H, W)."""
    logits = F.interpolate(logits[None], size=padded_size, mode="bilinear", align_corners=False)
    logits = logits[..., : image_size[0], : image_size[1]]
    return F.interpolate(logits, size=output_size, mode="bilinear", align_corners=False)[0]


def best_classes(
    class_logits: Tensor, *, count: int, threshold: float = 0.0, things: Collection[int] | None = None
) -> ChosenPairs:
    """Choose the ``count`` best pairs of a query and a class of each image, of these the things if such are named.

    ``class_logits`` is (B, Q, classes + 1); pairs whose probability is below ``threshold`` are left out.
    """
    return most_probable_pairs(class_logits.softmax(-1)[..., :-1], count=count, threshold=threshold, labels=things)


def semantic_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Sum the masks of the queries by class: (Q, classes + 1) and (Q, H, W) -> (classes, H, W)."""
    return torch.einsum("qc,qhw->chw", class_logits.softmax(-1)[:, :-1], mask_logits.sigmoid())


def panoptic_segmentation(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    things: Collection[int],
    object_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
) -> PanopticSegmentation:
    """Give each pixel to one query, and leave out the queries that lose too much of their mask to others.

    Args:
        class_logits: (Q, classes + 1).
        mask_logits: (Q, H, W).
        things: classes of which each query is a segment of its own; those of other classes are merged into one segment.
        object_threshold: class probability that a query has to exceed.
        overlap_threshold: share of a query's mask (probability 0.5 or more) that has to be left to it.
    """
    probabilities, labels = class_logits.softmax(-1).max(-1)
    kept = (labels < class_logits.shape[-1] - 1) & (probabilities > object_threshold)
    probabilities, labels, masks = probabilities[kept], labels[kept].tolist(), mask_logits[kept].sigmoid()
    numbers = torch.zeros(mask_logits.shape[-2:], dtype=torch.int32, device=mask_logits.device)
    segments: list[Segment] = []
    if not labels:
        return PanopticSegmentation(numbers, segments)
    owners = (probabilities[:, None, None] * masks).argmax(0)
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
