"""Validation finds in several images at once what it finds in each alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import engine
from training.callbacks.run_length import RunLength
from training.config.config_file import read_config
from training.data.sample import Sample
from training.data.scenes.scene import Scene
from training.data.synthetic.town import SyntheticTown
from training.data.view import View
from training.evaluation.coco.mask_scores import MaskAccumulator
from training.run.module import TrainingModule


@pytest.fixture(scope="module")
def module() -> TrainingModule:
    objective = torch.nn.Module()
    objective.model = engine.load_model("maskdino_lite")
    config = read_config("embedded", ["run.pictures=100"])
    return TrainingModule(objective, config, length=RunLength(steps=1, minutes=None)).eval()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    town = SyntheticTown(3, 400, 0.3)
    scene = Scene(town.image, np.array(town.footprints, dtype=object), 0.3)
    return [scene.crop(View(x, x, size, 1.0)).sample() for x, size in ((100, 128), (200, 160), (260, 128), (300, 128))]


def found(module: TrainingModule, samples: list[Sample], *, at_once: int) -> dict:
    module.first_found = {}
    numbered = list(enumerate(samples))
    for start in range(0, len(samples), at_once):
        module.validation_step(numbered[start : start + at_once], 0)
    return {number: instances for number, (_, instances) in sorted(module.first_found.items())}


@pytest.mark.slow
def test_images_together_give_the_figures_of_one_at_a_time(module: TrainingModule, samples: list[Sample]) -> None:
    """Sums are added in another order: scores agree to 1e-3, masks but for pixels whose logit is nearly nought."""
    together, alone = (found(module, samples, at_once=count) for count in (8, 1))
    assert list(together) == list(alone) == [0, 1, 2, 3]
    for ours, theirs in zip(together.values(), alone.values(), strict=True):
        sure = int((theirs.scores > 0.1).sum())  # below, two may change their places, or one the side of a threshold
        assert sure > 3
        torch.testing.assert_close(ours.scores[:sure], theirs.scores[:sure], rtol=0, atol=1e-3)
        for mask in ours.masks[:sure]:
            differing = (theirs.masks ^ mask).flatten(1).sum(1).min()
            assert differing <= 0.01 * mask.sum() + 1
    scores = []
    for instances in (together, alone):
        accumulator = MaskAccumulator()
        for number, sample in enumerate(samples):
            accumulator.add(number, sample, instances[number])
        scores.append(accumulator.scores())
    assert scores[1].ap50 > 0.1
    assert scores[0].ap50 == pytest.approx(scores[1].ap50, abs=1 / scores[1].buildings)


def test_large_images_are_looked_at_one_by_one(module: TrainingModule, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    empty = Sample(np.zeros((640, 640, 3), np.uint8), np.zeros((0, 640, 640), bool))
    small = Sample(np.zeros((320, 320, 3), np.uint8), np.zeros((0, 320, 320), bool))
    monkeypatch.setattr(module, "_find", lambda alike: batches.append(len(alike)) or [None] * len(alike))
    monkeypatch.setattr(module._accumulator, "add", lambda *found: None)
    module.validation_step(list(enumerate([empty, small, empty, empty, small])), 0)
    assert batches == [2, 1, 2]
