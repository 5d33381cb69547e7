"""From queries to class scores, panoptic segments and the pairs that become instances, on cases that can be seen through."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.model.config import SegmentationConfig
from engine.model.families.segmentation_model import SegmentationModel
from engine.model.outputs import Outputs
from engine.model.segmentation import (
    PanopticSegmentation,
    class_probabilities,
    enlarge,
    panoptic_segmentation,
    semantic_scores,
    sharpened,
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


def segments(logits: Tensor, drawn: Tensor, **options: object) -> PanopticSegmentation:
    return panoptic_segmentation(class_probabilities(logits, "softmax"), drawn, **options)


class Predicting(SegmentationModel):
    """Predicts what it is told, whatever it sees."""

    def __init__(self, config: SegmentationConfig, class_logits: Tensor, mask_logits: Tensor, **reading: object) -> None:
        super().__init__(config, backbone=nn.Identity(), **reading)
        self.outputs = Outputs(class_logits, None, mask_logits)

    def forward(self, images: Tensor, *, intermediate: bool) -> Outputs:
        return self.outputs


SOFTMAX = {"classification": "softmax", "temperature": None, "object_threshold": 0.8}
SIGMOID = {"classification": "sigmoid", "temperature": 0.06, "object_threshold": 0.25}
PANOPTIC = SegmentationConfig(kind="predicting", num_classes=3, task="panoptic", things=(0, 1))


def test_each_pixel_goes_to_the_surer_query() -> None:
    found = segments(classes(0, 1), masks((0, 6, 2.0), (5, 10, 3.0)), things={0, 1})
    assert [(s.id, s.label, s.is_thing) for s in found.segments] == [(1, 0, True), (2, 1, True)]
    assert found.map[:, 0].tolist() == [1] * 5 + [2] * 5
    assert found.map.dtype == torch.int32


def test_a_query_that_keeps_too_little_of_its_mask_is_left_out_and_its_pixels_stay_empty() -> None:
    logits, drawn = classes(0, 1), masks((0, 5, 2.0), (3, 10, 3.0))  # the first keeps 3 rows of 5
    found = segments(logits, drawn, things={0, 1})
    assert [(s.id, s.label) for s in found.segments] == [(1, 1)]
    assert found.map[:, 0].tolist() == [0] * 3 + [1] * 7
    assert len(segments(logits, drawn, things={0, 1}, overlap_threshold=0.6).segments) == 2


def test_the_share_that_is_kept_may_be_the_threshold_itself() -> None:
    found = segments(classes(0, 1), masks((0, 5, 2.0), (4, 10, 3.0)), things={0, 1})  # 4 rows of 5
    assert len(found.segments) == 2
    found = segments(classes(0, 1), masks((0, 4, 2.0), (3, 10, 3.0)), things={0, 1})  # 3 rows of 4
    assert len(found.segments) == 1


def test_stuff_is_one_segment_and_things_are_many() -> None:
    drawn = masks((0, 2, SURE), (3, 5, SURE), (6, 8, SURE), (8, 10, SURE))
    found = segments(classes(0, 2, 0, 2), drawn, things={0})
    assert [(s.id, s.label, s.is_thing) for s in found.segments] == [(1, 0, True), (2, 2, False), (3, 0, True)]
    assert found.map[:, 0].tolist() == [1, 1, 0, 2, 2, 0, 3, 3, 2, 2]


@pytest.mark.parametrize(
    ("reading", "unsure", "sure"),
    [
        (SOFTMAX, (2.0, 0.0, 0.0, 2.0), (5.0, 0.0, 0.0, 0.0)),  # 0.47 and 0.98
        (SOFTMAX, (0.0, 0.0, 0.0, 9.0), (9.0, 0.0, 0.0, 0.0)),  # sure of no object
        (SIGMOID, (-1.2, -9.0, -9.0), (-1.0, -9.0, -9.0)),  # 0.23 and 0.27
    ],
)
def test_unsure_queries_are_no_segments(reading: dict[str, object], unsure: tuple[float, ...], sure: tuple[float, ...]) -> None:
    images, drawn = torch.zeros(1, 3, 32, 32), torch.full((1, 1, 8, 8), SURE)
    for logits, count in ((unsure, 0), (sure, 1)):
        (found,) = Predicting(PANOPTIC, torch.tensor([[logits]]), drawn, **reading).panoptic(images)
        assert len(found.segments) == count and found.map.shape == (32, 32)
        assert bool(found.map.any()) == bool(count)


def test_sigmoid_probabilities_are_sharpened_where_classes_compete() -> None:
    """Two queries that see the same pixels: the one with a rival class is less sure, however probable its best class is."""
    logits = torch.tensor([[[2.0, 1.9, -9.0], [0.5, -9.0, -9.0]]])  # 0.88 and 0.87; 0.62
    drawn = torch.full((1, 2, 8, 8), SURE)
    (found,) = Predicting(PANOPTIC, logits, drawn, **SIGMOID).panoptic(torch.zeros(1, 3, 32, 32))
    assert [segment.label for segment in found.segments] == [0]
    assert len(found.segments) == 1 and (found.map == 1).all()
    probabilities = sharpened(class_probabilities(logits[0], "sigmoid"), 0.06)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2))
    assert probabilities[0].amax() < 0.6 and probabilities[1].amax() > 0.99


@given(st.integers(0, 2**32 - 1))
def test_segments_do_not_overlap_and_are_those_of_the_map(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, drawn = (torch.randn(shape, generator=generator) * 6 for shape in ((9, 4), (9, 7, 5)))
    found = segments(logits, drawn, things={0, 1})
    numbers = [segment.id for segment in found.segments]
    assert numbers == list(range(1, len(numbers) + 1))
    assert set(found.map.unique().tolist()) - {0} == set(numbers)
    stuff = [segment.label for segment in found.segments if not segment.is_thing]
    assert len(stuff) == len(set(stuff)) and set(stuff) <= {2}
    # the order of the queries changes the numbers alone
    order = torch.randperm(9, generator=generator)
    again = segments(logits[order], drawn[order], things={0, 1})
    assert torch.equal(again.map > 0, found.map > 0)
    assert sorted(s.label for s in again.segments) == sorted(s.label for s in found.segments)


def test_class_scores_add_up_the_masks_of_a_class() -> None:
    logits = classes(0, 0, 2, None)
    drawn = masks((0, 3, SURE), (6, 10, SURE), (3, 6, SURE), (0, 10, SURE))
    scores = semantic_scores(class_probabilities(logits, "softmax"), drawn)
    assert scores.shape == (3, 10, 4)
    assert scores.argmax(0)[:, 0].tolist() == [0] * 3 + [2] * 3 + [0] * 4
    assert scores[1].max() < 1e-3  # no object is no class


def test_the_best_pairs_are_chosen_before_the_things_among_them() -> None:
    logits = torch.tensor([[[4.0, 0.0, 3.0, 0.0], [0.0, 2.0, 5.0, 0.0]], [[0.0, 0.0, 0.0, 9.0], [0.0, 0.0, 6.0, 0.0]]])

    def pairs(task: str, *, threshold: float = 0.0) -> list[tuple[int, int, int]]:
        config = PANOPTIC.model_copy(update={"task": task})
        chosen = Predicting(config, logits, logits, **SOFTMAX).best_pairs(logits, count=3, threshold=threshold)
        torch.testing.assert_close(chosen.probabilities, logits.softmax(-1)[chosen.images, chosen.queries, chosen.labels])
        assert chosen.counts == [(chosen.images == image).sum() for image in range(2)]
        return list(zip(chosen.images.tolist(), chosen.queries.tolist(), chosen.labels.tolist(), strict=True))

    assert pairs("instance")[:3] == [(0, 1, 2), (0, 0, 0), (0, 0, 2)]
    assert pairs("instance", threshold=0.5) == [(0, 1, 2), (0, 0, 0), (1, 1, 2)]
    assert pairs("panoptic", threshold=0.1) == [(0, 0, 0)]


def test_scores_do_not_depend_on_how_many_masks_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    logits, drawn = (torch.randn(shape, generator=generator) for shape in ((1, 7, 3), (1, 7, 8, 8)))
    model = Predicting(PANOPTIC, logits, drawn, **SIGMOID)
    images = torch.zeros(1, 3, 30, 20)
    (at_once,) = model.semantic(images, output_sizes=[(45, 10)])
    monkeypatch.setattr("engine.model.families.segmentation_model._PIXELS_AT_ONCE", 1)
    (one_by_one,) = model.semantic(images, output_sizes=[(45, 10)])
    assert at_once.shape == (3, 45, 10)
    torch.testing.assert_close(one_by_one, at_once)


def test_padding_is_cut_off_before_a_map_is_resampled() -> None:
    ramp = torch.arange(16.0).expand(1, 8, 16)
    found = enlarge(ramp, (32, 64), (24, 40), (12, 20))
    assert found.shape == (1, 12, 20)
    assert found.max() < 10  # of the 40 columns that are image
