"""Panoptic quality (Kirillov et al. 2019, Panoptic Segmentation, arXiv 1801.00868, section 4), with COCO's rules.

The arithmetic is that of panopticapi, from which published figures come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import ArgumentError
from training.evaluation.panoptic.segments import VOID, Segments

_PIXELS = 1 << 22  # that are sorted at once: bounds the memory of a large picture
_MATCH = 0.5  # IoU above which segments match; at most one pair each can


@dataclass(frozen=True, eq=False)
class SegmentPairs:
    """The P pairs of a true and a predicted segment that share pixels of a picture, nothing being one of each.

    Attributes:
        truth, found: (P,) int64, places in the ids of each; -1 for ``VOID``.
        pixels: (P,) int64, how many they share.
    """

    truth: np.ndarray
    found: np.ndarray
    pixels: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, found: np.ndarray, known: Segments, given: Segments) -> SegmentPairs:
        """Count them in two maps of ids of one shape.

        Raises:
            ArgumentError: an id is none of the segments'.
        """
        rows = max(1, _PIXELS // max(1, truth.shape[1]))
        counted = [
            np.unique(truth[start : start + rows].astype(np.int64) << 24 | found[start : start + rows], return_counts=True)
            for start in range(0, len(truth), rows)
        ]
        of_parts, pixels_of_parts = (np.concatenate(column) for column in zip(*counted, strict=True))
        pairs, places = np.unique(of_parts, return_inverse=True)
        pixels = np.bincount(places.ravel(), pixels_of_parts).astype(np.int64)
        return cls(_places(pairs >> 24, known), _places(pairs & 0xFFFFFF, given), pixels)


class PanopticQuality:
    """Matches, counted picture by picture.

    Attributes:
        iou: (C,) sum of the IoUs of the matches of each category.
        matched, false_positives, missed: (C,) int64.
    """

    def __init__(self, categories: int) -> None:
        self.iou = np.zeros(categories)
        self.matched, self.false_positives, self.missed = np.zeros((3, categories), dtype=np.int64)

    def add(self, known: Segments, given: Segments, pairs: SegmentPairs) -> None:
        """Match the segments of a picture.

        Segments of one category match above an IoU of 0.5, the true ones but for crowds. The union leaves out what of the
        predicted segment lies on void. A predicted segment without a match is no false positive where more than half of it lies
        on void and the crowd of its category.
        """
        there = np.bincount(pairs.truth[pairs.truth >= 0], pairs.pixels[pairs.truth >= 0], minlength=len(known.ids))
        found = np.bincount(pairs.found[pairs.found >= 0], pairs.pixels[pairs.found >= 0], minlength=len(given.ids))
        on_void = self._pixels_on(pairs, pairs.truth < 0, len(given.ids))

        both = (pairs.truth >= 0) & (pairs.found >= 0)
        first, second, shared = pairs.truth[both], pairs.found[both], pairs.pixels[both]
        comparable = (known.categories[first] == given.categories[second]) & ~known.crowds[first]
        first, second, shared = first[comparable], second[comparable], shared[comparable]
        iou = shared / (there[first] + found[second] - shared - on_void[second])
        match = iou > _MATCH
        np.add.at(self.iou, known.categories[first[match]], iou[match])
        np.add.at(self.matched, known.categories[first[match]], 1)

        missed = ~known.crowds
        missed[first[match]] = False
        np.add.at(self.missed, known.categories[missed], 1)

        on_crowd = self._pixels_on(pairs, both & _on_crowd_of_its_category(known, given, pairs), len(given.ids))
        wrong = (on_void + on_crowd) / np.maximum(found, 1) <= _MATCH
        wrong[second[match]] = False
        np.add.at(self.false_positives, given.categories[wrong], 1)

    def figures(self, kept: np.ndarray | slice = slice(None)) -> PanopticFigures:
        """Return the figures of some categories, by a mask (C,), of all by default."""
        return PanopticFigures.of(self.iou[kept], self.matched[kept], self.false_positives[kept], self.missed[kept])

    @staticmethod
    def _pixels_on(pairs: SegmentPairs, counted: np.ndarray, segments: int) -> np.ndarray:
        counted = counted & (pairs.found >= 0)
        return np.bincount(pairs.found[counted], pairs.pixels[counted], minlength=segments)


@dataclass(frozen=True, eq=False)
class PanopticFigures:
    """Panoptic quality of K categories, 0..1; NaN where neither truth nor prediction has a segment of them.

    Attributes:
        pq, sq, rq: (K,) panoptic quality, and what it is the product of: the mean IoU of the matches (segmentation quality, 0
            without any) and F1 of the segments (recognition quality).
        mean_pq, mean_sq, mean_rq: over the categories that occur.
        categories: how many occur.
    """

    pq: np.ndarray
    sq: np.ndarray
    rq: np.ndarray
    mean_pq: float
    mean_sq: float
    mean_rq: float
    categories: int

    @classmethod
    def of(cls, iou: np.ndarray, matched: np.ndarray, false_positives: np.ndarray, missed: np.ndarray) -> PanopticFigures:
        """Measure, by counts (K,)."""
        weight = matched + false_positives / 2 + missed / 2
        occurs = weight > 0
        sq = np.where(occurs, iou / np.maximum(matched, 1), np.nan)
        rq = np.where(occurs, matched / np.where(occurs, weight, 1), np.nan)
        pq = np.where(occurs, iou / np.where(occurs, weight, 1), np.nan)
        means = (float(each[occurs].mean()) if occurs.any() else float("nan") for each in (pq, sq, rq))
        return cls(pq, sq, rq, *means, categories=int(occurs.sum()))


def _on_crowd_of_its_category(known: Segments, given: Segments, pairs: SegmentPairs) -> np.ndarray:
    """Return which pairs are of a predicted segment and the crowd of its category: (P,) bool.

    Of several crowds of one category, which COCO has not, it is the last, as in panopticapi.
    """
    crowd_of = dict(zip(known.categories[known.crowds].tolist(), np.flatnonzero(known.crowds).tolist(), strict=True))
    crowds = np.array([crowd_of.get(category, -1) for category in given.categories.tolist()], dtype=np.int64)
    wanted = crowds[pairs.found] if len(crowds) else np.full(len(pairs.found), -1)
    return (wanted >= 0) & (wanted == pairs.truth)


def _places(ids: np.ndarray, segments: Segments) -> np.ndarray:
    """Return the places of ids (P,) among those of the segments; -1 for ``VOID``."""
    listed = np.append(VOID, segments.ids)
    order = np.argsort(listed)
    places = order[np.minimum(np.searchsorted(listed, ids, sorter=order), len(order) - 1)]
    unknown = listed[places] != ids
    if unknown.any():
        raise ArgumentError(
            f"The PNG {segments.file_name} has a segment with the id {ids[unknown][0]}, which its JSON file does not list.",
            hint="Are JSON file and PNG of one run?",
        )
    return places - 1
