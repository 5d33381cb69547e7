"""Panoptic quality: the arithmetic of the paper and of panopticapi, derived again with sets of pixels."""

from __future__ import annotations

import math
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.training.evaluation.panoptic.panoptic_files import CATEGORIES, write_panoptic
from training.evaluation.panoptic import quality
from training.evaluation.panoptic.evaluation import PanopticEvaluation, evaluate_panoptic
from training.evaluation.panoptic.quality import PanopticQuality, SegmentPairs
from training.evaluation.panoptic.segments import Segments

SIDE = 4


@st.composite
def picture(draw, *, crowds: bool):
    """Ids of a few pixels, coarse enough that segments match, and their segments: some ids beyond 8 bits, some of crowds."""
    ids = draw(st.lists(st.sampled_from([1, 300, 70_000, 2**24 - 1]), unique=True, max_size=4))
    pixels = draw(st.lists(st.sampled_from([0, *ids]), min_size=SIDE * SIDE, max_size=SIDE * SIDE))
    segments = [
        {
            "id": identity,
            "category_id": draw(st.sampled_from([category["id"] for category in CATEGORIES])),
            "iscrowd": int(crowds and draw(st.booleans())),
        }
        for identity in ids
        if crowds or identity in pixels  # what is predicted has pixels; what is true may have been cropped away
    ]
    return np.array(pixels).reshape(SIDE, SIDE), segments


@st.composite
def compared(draw):
    """A truth and a prediction, of which a segment is often much like one of the truth: others hardly ever match."""
    (truth, known), (found, given) = draw(picture(crowds=True)), draw(picture(crowds=False))
    if known and given and draw(st.booleans()):
        one, other = known[0], given[0] | {"category_id": known[0]["category_id"]}
        shown = np.where(truth == one["id"], other["id"], found)
        given = [segment for segment in [other, *given[1:]] if (shown == segment["id"]).any()]
        return (truth, known), (shown, given)
    return (truth, known), (found, given)


def quality_by_sets(pictures) -> dict[int, tuple[Fraction, int, int, int]]:
    """Sum of IoUs, matches, false positives and misses by category, from the rules in words alone."""
    sums = {category["id"]: [Fraction(0), 0, 0, 0] for category in CATEGORIES}
    for (truth, known), (found, given) in pictures:

        def pixels(ids, identity):
            return set(np.flatnonzero(ids == identity).tolist())

        void = pixels(truth, 0)
        matched_truth, matched_found = set(), set()
        for one in known:
            for other in given:
                if one["iscrowd"] or one["category_id"] != other["category_id"]:
                    continue
                there, here = pixels(truth, one["id"]), pixels(found, other["id"])
                union = (there | here) - (here & void)
                if union and Fraction(len(there & here), len(union)) > Fraction(1, 2):
                    sums[one["category_id"]][0] += Fraction(len(there & here), len(union))
                    sums[one["category_id"]][1] += 1
                    matched_truth.add(one["id"])
                    matched_found.add(other["id"])
        for other in given:
            crowds = [one for one in known if one["iscrowd"] and one["category_id"] == other["category_id"]]
            excused = void | (pixels(truth, crowds[-1]["id"]) if crowds else set())
            here = pixels(found, other["id"])
            if other["id"] not in matched_found and 2 * len(here & excused) <= len(here):
                sums[other["category_id"]][2] += 1
        for one in known:
            if not one["iscrowd"] and one["id"] not in matched_truth:
                sums[one["category_id"]][3] += 1
    return {category: tuple(values) for category, values in sums.items()}


def segments_of(entries) -> Segments:
    numbers = {category["id"]: number for number, category in enumerate(CATEGORIES)}
    return Segments(
        "a.png",
        np.array([entry["id"] for entry in entries], dtype=np.int64),
        np.array([numbers[entry["category_id"]] for entry in entries], dtype=np.int32),
        np.array([entry["iscrowd"] for entry in entries], dtype=bool),
    )


def measured(pictures) -> PanopticQuality:
    counts = PanopticQuality(len(CATEGORIES))
    for (truth, known), (found, given) in pictures:
        known, given = segments_of(known), segments_of(given)
        counts.add(known, given, SegmentPairs.of(truth, found, known, given))
    return counts


@hypothesis.settings(max_examples=300)
@hypothesis.given(st.lists(compared(), min_size=1, max_size=3))
def test_counts_and_ious_are_those_of_the_rules_in_words(pictures):
    found = measured(pictures)
    expected = quality_by_sets(pictures)
    for number, category in enumerate(CATEGORIES):
        iou, matched, false_positives, missed = expected[category["id"]]
        assert found.iou[number] == pytest.approx(float(iou), rel=1e-12)
        counts = found.matched[number], found.false_positives[number], found.missed[number]
        assert counts == (matched, false_positives, missed)
    figures = found.figures()
    occurring = []
    for number, (iou, matched, false_positives, missed) in enumerate(expected.values()):
        weight = matched + Fraction(false_positives, 2) + Fraction(missed, 2)
        if not weight:
            assert math.isnan(figures.pq[number])
            continue
        occurring.append(iou / weight)
        assert figures.pq[number] == pytest.approx(float(iou / weight), rel=1e-12)
        assert figures.pq[number] == pytest.approx(figures.sq[number] * figures.rq[number], rel=1e-12)
    assert figures.categories == len(occurring)
    if occurring:
        assert figures.mean_pq == pytest.approx(float(sum(occurring) / len(occurring)), rel=1e-12)


def test_a_large_picture_is_counted_in_parts(monkeypatch):
    rng = np.random.default_rng(1)
    truth, found = rng.choice([0, 3, 300], (2, 23, 31))
    entries = segments_of([{"id": identity, "category_id": 3, "iscrowd": 0} for identity in (300, 3)])
    whole = SegmentPairs.of(truth, found, entries, entries)
    monkeypatch.setattr(quality, "_PIXELS", 100)
    parts = SegmentPairs.of(truth, found, entries, entries)
    for name in ("truth", "found", "pixels"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))
    assert whole.pixels.sum() == truth.size


@hypothesis.given(picture(crowds=False))
def test_a_segmentation_compared_with_itself_is_perfect(drawn):
    figures = measured([(drawn, drawn)]).figures()
    assert np.nan_to_num(figures.pq, nan=1.0) == pytest.approx(1.0)


def one_row(truth: str, found: str, *, known=(), given=()) -> PanopticQuality:
    """Compare two rows of pixels, written as digits."""
    ids = [np.array([[int(digit) for digit in row]]) for row in (truth, found)]
    entries = [[{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in listed] for listed in (known, given)]
    return measured([((ids[0], entries[0]), (ids[1], entries[1]))])


def test_an_iou_of_a_half_is_no_match_and_void_is_left_out_of_the_union():
    known, given = [(1, 17, 0)], [(1, 17, 0)]
    half = one_row("1111", "1122", known=known, given=[*given, (2, 3, 0)])
    assert (half.matched[1], half.missed[1], half.false_positives[1]) == (0, 1, 1)
    on_void = one_row("110000", "111111", known=known, given=given)
    assert (on_void.matched[1], on_void.iou[1]) == (1, 1.0)


def test_what_lies_by_more_than_half_on_void_or_the_crowd_of_its_class_is_no_false_positive():
    for truth, crowd, expected in (
        ("0001", 17, 0),
        ("0011", 17, 1),
        ("2211", 17, 1),
        ("2221", 17, 0),
        ("2201", 17, 0),
        ("2221", 3, 1),
    ):
        counts = one_row(truth, "1111", known=[(1, 3, 0), (2, crowd, 1)], given=[(1, 17, 0)])
        assert counts.false_positives[1] == expected, (truth, crowd)


def compare(tmp_path, truth, found, **more) -> PanopticEvaluation:
    write_panoptic(tmp_path / "truth.json", truth, categories=CATEGORIES)
    write_panoptic(tmp_path / "found.json", found)
    return evaluate_panoptic(tmp_path / "found.json", tmp_path / "truth.json", **more)


def test_files_give_the_same_as_arrays_and_pixels_the_classes_of_their_segments(tmp_path):
    rng = np.random.default_rng(4)
    pictures = []
    for _ in range(5):
        ids = np.array([0, 5, 600, 2**24 - 1])
        entries = [[{"id": int(i), "category_id": int(rng.choice([3, 17, 200])), "iscrowd": 0} for i in ids[1:]] for _ in "ab"]
        truth = rng.choice(ids, (9, 7)).repeat(2, axis=0)
        found = np.where(rng.random(truth.shape) < 0.8, truth, 5)
        pictures.append(((truth, entries[0]), (found, entries[1])))
    truth = {number: pair[0] for number, pair in enumerate(pictures)}
    found = {number: pair[1] for number, pair in reversed(list(enumerate(pictures)))}  # in any order
    evaluation = compare(tmp_path, truth, found | {77: pictures[0][1]})
    expected = measured(pictures)
    for name in ("iou", "matched", "false_positives", "missed"):
        assert getattr(evaluation.quality, name) == pytest.approx(getattr(expected, name))
    assert (evaluation.pictures, evaluation.others) == (5, 1)
    counts = np.zeros((3, 4), dtype=int)
    for (ids, known), (shown, given) in pictures:
        rows, columns = ({0: -1} | {e["id"]: [3, 17, 200].index(e["category_id"]) for e in part} for part in (known, given))
        for one, other in zip(ids.ravel().tolist(), shown.ravel().tolist(), strict=True):
            if one:
                counts[rows[one], columns[other]] += 1
    assert (evaluation.matrix.counts == counts).all()
    things = evaluation.of_kind(things=True)
    assert things.tolist() == [False, True, False]
    assert evaluation.quality.figures(things).mean_pq == expected.figures().pq[1]
