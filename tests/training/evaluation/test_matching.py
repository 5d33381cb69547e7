"""One-to-one matching: the same as one detection after the other, whatever the order of the pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.layers.overlaps import Overlaps
from training.evaluation.matching import match


def overlaps_of(ious: np.ndarray, rng: np.random.Generator) -> Overlaps:
    pairs = np.argwhere(ious > 0)
    rng.shuffle(pairs)
    return Overlaps(pairs[:, 0], pairs[:, 1], ious[pairs[:, 0], pairs[:, 1]])


def one_by_one(ious: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """COCO's loop."""
    matched, taken = [-1] * len(scores), set()
    for detection in np.argsort(-scores, kind="stable"):
        best = threshold
        for annotation in range(ious.shape[1]):
            if annotation not in taken and ious[detection, annotation] >= best:
                best, matched[detection] = ious[detection, annotation], annotation
        taken.add(matched[detection])
    return matched


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32), st.sampled_from([0.2, 0.5, 0.75]))
def test_it_is_the_greedy_matching_of_one_after_the_other(detections, annotations, seed, threshold):
    rng = np.random.default_rng(seed)
    ious = rng.integers(0, 9, (detections, annotations)) / 8.0  # many ties
    scores = rng.integers(0, 5, detections) / 4.0
    matched = match(overlaps_of(ious, rng), scores, annotations=annotations, threshold=threshold)
    assert matched.tolist() == one_by_one(ious, scores, threshold)


def test_a_chain_in_which_each_waits_for_the_one_before():
    count = 200
    ious = np.zeros((count, count))
    ious[np.arange(count), np.arange(count)] = 0.6
    ious[np.arange(1, count), np.arange(count - 1)] = 0.7  # each would rather have what the one before takes
    scores = np.linspace(1, 0, count)
    matched = match(overlaps_of(ious, np.random.default_rng(0)), scores, annotations=count, threshold=0.5)
    assert matched.tolist() == one_by_one(ious, scores, 0.5)


def test_an_iou_on_the_threshold_counts_also_after_a_way_through_another_crs():
    overlaps = Overlaps(np.array([0, 1]), np.array([0, 1]), np.array([0.5 - 1e-9, 0.5 - 1e-4]))
    assert match(overlaps, np.ones(2), annotations=2, threshold=0.5).tolist() == [0, -1]
