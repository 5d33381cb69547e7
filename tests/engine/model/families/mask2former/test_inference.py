"""From queries to instances, class scores and panoptic segments, on cases that can be seen through."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.model.families.mask2former.inference import (
    best_classes,
    enlarge,
    panoptic_segmentation,
    semantic_scores,
)

SURE = 12.0  # a logit of a probability of almost 1


def classes(*labels: int | None, count: int = 3) -> Tensor:
    """Class logits (Q, count + 1) of queries that are sure of their class, None being no object."""
    logits = torch.zeros(len(labels), count + 1)
    for query, label in enumerate(labels):
        logits[query, count if label is None else label] = SURE
    return logits


def masks(*rows: tuple[int, int, float], size: tuple[int, int] = (10, 4)) -> Tensor:
    """Mask logits (Q, H, W): of each query from row, to row, and the logit there."""
    logits = torch.full((len(rows), *size), -SURE)
    for query, (first, last, logit) in enumerate(rows):
        logits[query, first:last] = logit
    return logits


def test_each_pixel_goes_to_the_surer_query() -> None:
    found = panoptic_segmentation(classes(0, 1), masks((0, 6, 2.0), (5, 10, 3.0)), things={0, 1})
    assert [(s.id, s.label, s.is_thing) for s in found.segments] == [(1, 0, True), (2, 1, True)]
    assert found.map[:, 0].tolist() == [1] * 5 + [2] * 5
    assert found.map.dtype == torch.int32


def test_a_query_that_keeps_too_little_of_its_mask_is_left_out_and_its_pixels_stay_empty() -> None:
    logits, drawn = classes(0, 1), masks((0, 5, 2.0), (3, 10, 3.0))  # the first keeps 3 rows of 5
    found = panoptic_segmentation(logits, drawn, things={0, 1})
    assert [(s.id, s.label) for s in found.segments] == [(1, 1)]
    assert found.map[:, 0].tolist() == [0] * 3 + [1] * 7
    assert len(panoptic_segmentation(logits, drawn, things={0, 1}, overlap_threshold=0.6).segments) == 2


def test_the_share_that_is_kept_may_be_the_threshold_itself() -> None:
    found = panoptic_segmentation(classes(0, 1), masks((0, 5, 2.0), (4, 10, 3.0)), things={0, 1})  # 4 rows of 5
    assert len(found.segments) == 2


def test_stuff_is_one_segment_and_things_are_many() -> None:
    drawn = masks((0, 2, SURE), (3, 5, SURE), (6, 8, SURE), (8, 10, SURE))
    found = panoptic_segmentation(classes(0, 2, 0, 2), drawn, things={0})
    assert [(s.id, s.label, s.is_thing) for s in found.segments] == [(1, 0, True), (2, 2, False), (3, 0, True)]
    assert found.map[:, 0].tolist() == [1, 1, 0, 2, 2, 0, 3, 3, 2, 2]


def test_unsure_queries_and_no_objects_are_nothing() -> None:
    unsure = torch.zeros(1, 4)
    drawn = masks((0, 10, SURE))
    for logits in (unsure, classes(None)):
        found = panoptic_segmentation(logits, drawn, things={0})
        assert not found.segments and not found.map.any()
    assert len(panoptic_segmentation(unsure, drawn, things={0}, object_threshold=0.2).segments) == 1
    assert panoptic_segmentation(torch.zeros(0, 4), drawn[:0], things={0}).map.shape == (10, 4)


@given(st.integers(0, 2**32 - 1))
def test_segments_do_not_overlap_and_are_those_of_the_map(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, drawn = (torch.randn(shape, generator=generator) * 6 for shape in ((9, 4), (9, 7, 5)))
    found = panoptic_segmentation(logits, drawn, things={0, 1})
    numbers = [segment.id for segment in found.segments]
    assert numbers == list(range(1, len(numbers) + 1))
    assert set(found.map.unique().tolist()) - {0} == set(numbers)
    stuff = [segment.label for segment in found.segments if not segment.is_thing]
    assert len(stuff) == len(set(stuff)) and set(stuff) <= {2}
    # the order of the queries changes the numbers alone
    order = torch.randperm(9, generator=generator)
    again = panoptic_segmentation(logits[order], drawn[order], things={0, 1})
    assert torch.equal(again.map > 0, found.map > 0)
    assert sorted(s.label for s in again.segments) == sorted(s.label for s in found.segments)


def test_class_scores_add_up_the_masks_of_a_class() -> None:
    logits = classes(0, 0, 2, None)
    drawn = masks((0, 3, SURE), (6, 10, SURE), (3, 6, SURE), (0, 10, SURE))
    scores = semantic_scores(logits, drawn)
    assert scores.shape == (3, 10, 4)
    assert scores.argmax(0)[:, 0].tolist() == [0] * 3 + [2] * 3 + [0] * 4
    assert scores[1].max() < 1e-3  # no object is no class


def test_the_best_pairs_are_chosen_before_the_things_among_them() -> None:
    logits = torch.tensor([[[4.0, 0.0, 3.0, 0.0], [0.0, 2.0, 5.0, 0.0]], [[0.0, 0.0, 0.0, 9.0], [0.0, 0.0, 6.0, 0.0]]])

    def pairs(**options: object) -> list[tuple[int, int, int]]:
        chosen = best_classes(logits, count=3, **options)
        torch.testing.assert_close(chosen.probabilities, logits.softmax(-1)[chosen.images, chosen.queries, chosen.labels])
        assert chosen.counts == [(chosen.images == image).sum() for image in range(2)]
        return list(zip(chosen.images.tolist(), chosen.queries.tolist(), chosen.labels.tolist(), strict=True))

    assert pairs()[:3] == [(0, 1, 2), (0, 0, 0), (0, 0, 2)]
    assert pairs(threshold=0.5) == [(0, 1, 2), (0, 0, 0), (1, 1, 2)]
    assert pairs(things={0, 1}, threshold=0.1) == [(0, 0, 0)]
    assert len(best_classes(logits, count=100).queries) == 12


def test_padding_is_cut_off_before_a_map_is_resampled() -> None:
    ramp = torch.arange(16.0).expand(1, 8, 16)
    found = enlarge(ramp, (32, 64), (24, 40), (12, 20))
    assert found.shape == (1, 12, 20)
    assert found.max() < 10  # of the 40 columns that are image
