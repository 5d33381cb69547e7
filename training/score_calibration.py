"""Let a score of 0.5 be the one at which precision and recall balance best.

Focal loss leaves scores low where a model is unsure, so the best threshold of a small model lies far below 0.5, at a place
that nobody who uses it can know. A constant added to all class logits moves that place to 0.5 and leaves their order as it
is (a Platt scaling with the slope kept at one).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from engine.model.maskdino import MaskDino
from training.data.sample import Sample
from training.evaluation.mask_scores import score_model

log = logging.getLogger(__name__)

_SHIFTS = np.arange(-0.5, 3.01, 0.25)
_MOST = 200  # images: the model runs over them once for each shift


def balance_scores(model: MaskDino, samples: Sequence[Sample]) -> float:
    """Shift the model's class logits in place, and return a figure that the choice did not flatter.

    Args:
        model: its classifier's bias is changed.
        samples: ground that it was not trained on, two images or more.

    Returns:
        F1 at a score of 0.5, each half of the samples measured with the shift that was best on the other half.
    """
    every = max(1, len(samples) // _MOST)
    halves = [[samples[number] for number in range(first * every, len(samples), 2 * every)] for first in (0, 1)]
    bias = model.heads.classify.bias
    start = bias.detach().clone()
    curves = []
    for half in halves:
        curve = []
        for shift in _SHIFTS:
            _set(bias, start + float(shift))
            curve.append(score_model(model, half).f1)
        curves.append(np.array(curve))
    best = float(_SHIFTS[np.argmax(curves[0] + curves[1])])
    _set(bias, start + best)
    unflattered = (curves[0][np.argmax(curves[1])] + curves[1][np.argmax(curves[0])]) / 2
    log.info("class logits moved by %.2f; F1 at 0.5 is %.3f, measured crosswise", best, unflattered)
    return float(unflattered)


def _set(bias: torch.nn.Parameter, value: torch.Tensor) -> None:
    with torch.no_grad():
        bias.copy_(value)
