"""Match detections with annotations one to one, as COCO does."""

from __future__ import annotations

import numpy as np

from training.evaluation.layers.overlaps import Overlaps

TOLERANCE = 1e-6
"""An IoU this little below a threshold counts as on it. Exact fractions such as 1/2 are common among pixel outlines, and the
way through another CRS moves them by up to so much."""


def match(overlaps: Overlaps, scores: np.ndarray, *, annotations: int, threshold: float) -> np.ndarray:
    """Give each detection, best score first, the free annotation that it overlaps best, if by ``threshold`` or more.

    This is the greedy matching of COCO (Lin et al. 2014, arXiv 1405.0312; ``COCOeval.evaluateImg`` of pycocotools). Among
    equal scores the row that comes first is served first; among equal IoUs the annotation that comes last is taken.

    All detections that no earlier one can interfere with are settled at once, again and again until none is left.

    Args:
        overlaps: the pairs.
        scores: (N,) of the detections.
        annotations: how many there are.
        threshold: smallest IoU of a match.

    Returns:
        (N,) int64 row of the annotation, -1 where there is none.
    """
    matched = np.full(len(scores), -1, dtype=np.int64)
    rank = np.empty(len(scores), dtype=np.int64)
    rank[by_score(scores)] = np.arange(len(scores))
    good = overlaps.iou >= threshold - TOLERANCE
    detection, annotation, iou = overlaps.detection[good], overlaps.annotation[good], overlaps.iou[good]
    order = np.lexsort([-annotation, -iou, rank[detection]])
    detection, annotation = detection[order], annotation[order]
    earliest = np.empty(annotations, dtype=np.int64)
    taken = np.zeros(annotations, dtype=bool)
    while len(detection):
        ranks = rank[detection]
        choice = np.diff(detection, prepend=-1) != 0  # the first pair of each detection holds what it likes best
        earliest[annotation] = len(scores)
        np.minimum.at(earliest, annotation, ranks)
        settled = choice & (earliest[annotation] == ranks)
        matched[detection[settled]] = annotation[settled]
        taken[annotation[settled]] = True
        open_pairs = (matched[detection] < 0) & ~taken[annotation]
        detection, annotation = detection[open_pairs], annotation[open_pairs]
    return matched


def by_score(scores: np.ndarray) -> np.ndarray:
    """Return the order from the best score to the worst; equal ones keep their order."""
    return np.argsort(-scores, kind="stable")
