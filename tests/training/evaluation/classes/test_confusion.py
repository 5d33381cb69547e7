"""Figures of semantic segmentation against a plain derivation, class by class with masks of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.classes.confusion import ConfusionMatrix

NAMES = ("a", "b", "c")
labels = st.lists(st.integers(-1, 2), min_size=1, max_size=30)


def matrix_of(truth, predicted) -> ConfusionMatrix:
    matrix = ConfusionMatrix(NAMES)
    matrix.add(np.array(truth), np.array(predicted))
    return matrix


@given(st.data())
def test_figures_are_those_of_masks(data):
    truth = np.array(data.draw(labels))
    predicted = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(truth), max_size=len(truth))))
    figures = matrix_of(truth, predicted).figures()
    labelled = truth >= 0
    there = [truth == number for number in range(3)]
    found = [(predicted == number) & labelled for number in range(3)]
    ious = [(t & f).sum() / (t | f).sum() if (t | f).any() else math.nan for t, f in zip(there, found, strict=True)]
    assert figures.iou == pytest.approx(ious, nan_ok=True)
    in_truth = [number for number in range(3) if there[number].any()]
    if not in_truth:
        assert math.isnan(figures.mean_iou) and math.isnan(figures.pixel_accuracy)
        return
    share = [there[number].sum() / labelled.sum() for number in in_truth]
    assert figures.mean_iou == pytest.approx(np.mean([ious[number] for number in in_truth]))
    assert figures.frequency_weighted_iou == pytest.approx(sum(s * ious[n] for s, n in zip(share, in_truth, strict=True)))
    assert figures.pixel_accuracy == pytest.approx((truth == predicted)[labelled].mean())
    accuracies = [(predicted == number)[there[number]].mean() for number in in_truth]
    assert figures.mean_accuracy == pytest.approx(np.mean(accuracies))


@given(labels, st.randoms())
def test_parts_add_up_in_any_order(truth, random):
    predicted = [random.randint(-1, 2) for _ in truth]
    whole = matrix_of(truth, predicted)
    pairs = list(zip(truth, predicted, strict=True))
    random.shuffle(pairs)
    parts = ConfusionMatrix(NAMES)
    for start in range(0, len(pairs), 7):
        first, second = zip(*pairs[start : start + 7], strict=True)
        parts.add(np.array(first), np.array(second))
    assert (parts.counts == whole.counts).all()
    assert whole.counts.sum() == sum(label >= 0 for label in truth)


def test_a_class_that_is_only_predicted_has_an_iou_of_nothing_and_is_in_no_mean():
    figures = matrix_of([0, 0, 1, 1], [0, 2, 1, -1]).figures()
    assert figures.iou.tolist() == [0.5, 0.5, 0.0]
    assert (figures.mean_iou, figures.pixel_accuracy) == (0.5, 0.5)


def test_some_classes_alone():
    matrix = matrix_of([0, 0, 2, 2], [0, 2, 2, -1])
    assert matrix.seen.tolist() == [True, False, True]
    part = matrix.only(matrix.seen)
    assert part.names == ("a", "c")
    assert part.counts.tolist() == [[1, 1, 0], [0, 1, 1]]
