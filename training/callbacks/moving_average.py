"""The moving average of a model's weights, which is what a run validates and saves."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(WeightAveraging):
    """Average weights exponentially, over few steps in the beginning and over more and more later.

    With a constant decay of 0.999 the average of a short run would mostly be what the run began with: half of it after 700
    steps. Lightning's own average takes one tensor after the other, and waits for a GPU at each; this one takes all at once.

    Args:
        decay: of the average, reached in the course of the run: at step ``t`` it is at most (1 + t) / (10 + t), as in
            TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Update after each step of the optimizer."""
        if step_idx is None:
            return False
        self._step = step_idx + 1
        return True

    def _average(self, averaged: tuple[Tensor, ...] | list[Tensor], current: Any, _: Any) -> None:
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        get_ema_multi_avg_fn(decay)(averaged, current, None)
