"""Average precision and F1 of a model's masks, with models whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.model.families.maskdino.config import MaskDinoConfig
from engine.model.outputs import Prediction
from engine.model.postprocess import ImageInstances, image_instances
from training.data.sample import Sample
from training.evaluation.coco.mask_scores import MaskAccumulator, measure_model, score_model
from training.run.score_calibration import balance_scores

SIZE = 64


class KnownAnswers(torch.nn.Module):
    """Stands where a Mask DINO would: it answers picture by picture what it was told to, moved by its classifier's bias."""

    def __init__(self, answers: list[list[tuple[float, np.ndarray]]]) -> None:
        super().__init__()
        self.config = MaskDinoConfig(num_classes=1)
        self.answers, self.calls = answers, 0
        self.heads = torch.nn.Module()
        self.heads.classify = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(self.heads.classify.bias)

    def instances(self, images: torch.Tensor, *, count: int | None = None, threshold: float = 0.0) -> list[ImageInstances]:
        answer = self.answers[int(images[0, 0, 0, 0])]
        logits = torch.tensor([score for score, _ in answer]).view(1, -1, 1) + self.heads.classify.bias
        masks = torch.stack([torch.from_numpy(mask[::4, ::4]).float() * 40 - 20 for _, mask in answer])[None]
        size = tuple(images.shape[-2:])
        prediction = Prediction(logits.detach(), torch.zeros(1, len(answer), 4), masks)
        return [image_instances(prediction, 0, image_size=size, padded_size=size, count=count or 100, threshold=threshold)]


def _house(place: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[8:40, place : place + 16] = True
    return mask


def _sample(number: int, *places: int) -> Sample:
    image = np.full((SIZE, SIZE, 3), number, dtype=np.uint8)
    return Sample(image, np.stack([_house(place) for place in places]))


def test_a_perfect_model_gets_full_marks() -> None:
    model = KnownAnswers([[(3.0, _house(0)), (2.0, _house(32))], [(3.0, _house(16))]])
    scores = score_model(model, [_sample(0, 0, 32), _sample(1, 16)])
    assert scores.ap50 == pytest.approx(1, abs=1e-9)
    assert (scores.precision, scores.recall, scores.f1) == (1, 1, 1)
    assert (scores.images, scores.buildings) == (2, 3)


def test_a_miss_and_a_false_building_count() -> None:
    model = KnownAnswers([[(3.0, _house(0)), (2.0, _house(48))]])
    scores = score_model(model, [_sample(0, 0, 24)])
    assert (scores.precision, scores.recall, scores.f1) == (0.5, 0.5, 0.5)
    assert 0.45 < scores.ap50 < 0.55


def test_a_model_that_finds_nothing_scores_nothing() -> None:
    model = KnownAnswers([[(-9.0, _house(0))]])
    assert score_model(model, [_sample(0, 0)]).f1 == 0


def test_balanced_scores_put_the_best_threshold_at_a_half() -> None:
    """The right answers lie at logits above -1, the wrong ones below: moved up by 1 to 2, all is right at 0.5."""
    answers = [[(-0.9, _house(0)), (-2.2, _house(32))] for _ in range(4)]
    model = KnownAnswers(answers)
    samples = [_sample(number, 0) for number in range(4)]
    assert score_model(model, samples).f1 == 0
    assert balance_scores(model, measure_model(model, samples)) == pytest.approx(1)
    assert score_model(model, samples).f1 == 1
    assert 0.9 <= model.heads.classify.bias.item() <= 2.2


def test_boundary_ap_is_measured_on_request_and_asks_more_of_outlines() -> None:
    wider = np.roll(_house(8), 1, axis=1) | _house(8)
    accumulator = measure_model(KnownAnswers([[(3.0, _house(8))], [(3.0, wider)]]), [_sample(0, 8), _sample(1, 8)])
    assert accumulator.scores().boundary_ap is None
    assert accumulator.scores(numbers=[0], boundary=True).boundary_ap == pytest.approx(1, abs=1e-9)
    scores = accumulator.scores(boundary=True)
    assert 0 < scores.boundary_ap < scores.ap


def test_a_detection_on_unlabelled_ground_counts_for_nothing() -> None:
    unlabelled = _house(8) | _house(24) | _house(40)
    sample = Sample(np.zeros((SIZE, SIZE, 3), np.uint8), np.stack([_house(0), unlabelled]), crowd=np.array([False, True]))
    inside = np.zeros_like(unlabelled)
    inside[16:32, 32:48] = True
    model = KnownAnswers([[(2.0, _house(0)), (3.0, inside)]])
    scores = measure_model(model, [sample]).scores(boundary=True)
    assert (scores.buildings, scores.detections, scores.precision, scores.recall) == (1, 1, 1, 1)
    assert scores.ap == pytest.approx(1, abs=1e-9) and scores.boundary_ap == pytest.approx(1, abs=1e-9)


def test_scores_by_place_are_those_of_the_places_alone() -> None:
    answers = [[(3.0, _house(0)), (1.0, _house(32))], [(2.0, _house(16))], [(-9.0, _house(0))], [(1.5, _house(40))]]
    accumulator = measure_model(KnownAnswers(answers), [_sample(0, 0, 32), _sample(1, 18), _sample(2, 0), _sample(3, 8)])
    places = {"first": range(2), "nothing found": range(2, 3), "last": range(3, 4), "empty": range(0), "all": range(4)}
    whole, by_place = accumulator.scores_by_place(places)
    assert whole == accumulator.scores() == by_place["all"]
    assert list(by_place) == list(places)
    for name, numbers in places.items():
        assert repr(by_place[name]) == repr(accumulator.scores(numbers=numbers)), name  # NaN is NaN
    assert by_place["first"].f1 == 1 and by_place["last"].f1 == by_place["nothing found"].f1 == 0


def test_more_instances_than_a_byte_counts_are_kept() -> None:
    image = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    masks = np.zeros((SIZE * 8, SIZE * SIZE), dtype=bool)
    for number, mask in enumerate(masks):
        mask[8 * number : 8 * number + 5] = True
    masks = masks.reshape(-1, SIZE, SIZE)
    ones = torch.ones(len(masks))
    accumulator = MaskAccumulator()
    accumulator.add(
        0, Sample(image, masks), ImageInstances(ones, ones.long(), torch.zeros(len(masks), 4), torch.from_numpy(masks))
    )
    scores = accumulator.scores()
    assert (scores.buildings, scores.detections, scores.recall, scores.precision) == (512, 512, 1, 1)
