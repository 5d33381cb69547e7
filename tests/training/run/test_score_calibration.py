"""The class logits move, and nothing else does, until a score of 0.5 is the best place to cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from engine.model.build import build_model
from engine.model.families.maskdino.config import MaskDinoConfig
from tests.training.run.training_run import SMALL_MODEL
from training.data.sample import Sample
from training.evaluation.coco.mask_scores import measure_model
from training.run.score_calibration import balance_scores


class Reluctant(Sequence):
    """Images of one house each; they can be counted and taken one by one, as a data set's can, but not sliced."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < 5:
            raise IndexError(number)
        mask = np.zeros((1, 96, 96), dtype=bool)
        mask[0, 20:60, 10 + number : 50] = True
        return Sample(np.where(mask[0][..., None], 220, 40).astype(np.uint8).repeat(3, axis=2), mask, str(number))


def test_only_the_bias_of_the_classifier_moves_until_as_many_are_found_as_there_are() -> None:
    torch.manual_seed(0)
    model = build_model(MaskDinoConfig.model_validate(SMALL_MODEL)).eval()
    with torch.no_grad():  # untrained, all queries would score alike
        model.heads.classify.weight *= 30
        model.heads.classify.bias += 2
    images = Reluctant()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    accumulator = measure_model(model, images)
    assert 0 <= balance_scores(model, accumulator) <= 1
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"heads.classify.bias"}
    found = measure_model(model, images).scores()
    assert found.detections == found.buildings == 5
