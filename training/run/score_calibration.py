"""Let a score of 0.5 be the one at which precision and recall balance.

Focal loss leaves scores low where a model is unsure, so the best threshold of a small model lies far below 0.5, at a place
that nobody who uses it can know. A constant added to all class logits moves that place to 0.5 and leaves their order as it
is (a Platt scaling with the slope kept at one). What is detected at 0.5 is then as many as there are, so that a count of
buildings is not biased on ground like that of the validation.
"""

from __future__ import annotations

import logging

import torch

from engine.model.families.family_model import FamilyModel
from engine.model.families.registry import family_of
from training.evaluation.coco.mask_scores import MaskAccumulator

log = logging.getLogger(__name__)


def balance_scores(model: FamilyModel, accumulator: MaskAccumulator) -> float:
    """Shift the model's class logits in place, and return a figure that the choice did not flatter.

    Args:
        model: one with a bias of all scores (``Family.score_bias``), which is changed.
        accumulator: what the model found in two images or more of ground that it was not trained on.

    Returns:
        F1 at a score of 0.5, each half of the images measured with the shift that balances the other half.
    """
    halves = [accumulator.numbers[first::2] for first in (0, 1)]
    crosswise = [
        accumulator.shifted(accumulator.balancing_shift(numbers=other)).scores(numbers=half).f1
        for half, other in (halves, halves[::-1])
    ]
    shift = accumulator.balancing_shift()
    with torch.no_grad():
        model.get_parameter(family_of(model.config).score_bias(model.config)).add_(shift)
    unflattered = sum(crosswise) / 2
    log.info("class logits moved by %.2f; F1 at 0.5 is %.3f, measured crosswise", shift, unflattered)
    return unflattered
