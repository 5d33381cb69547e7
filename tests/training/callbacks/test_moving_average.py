"""The average of a short run is not what the run began with, and that of a long one is as slow as asked for."""

from __future__ import annotations

import pytest
import torch

from training.callbacks.moving_average import MovingAverage


def averaged(steps: int, *, decay: float, first: int = 0) -> float:
    """Average weights that are 1 from the first step on, starting from 0."""
    callback, average = MovingAverage(decay), [torch.zeros(3), torch.zeros(2)]
    for step in range(first, first + steps):
        assert callback.should_update(step_idx=step)
        callback._average(average, [torch.ones(3), torch.ones(2)], None)
    assert torch.equal(average[0][:2], average[1])
    return average[0][0].item()


def test_a_short_run_forgets_what_it_began_with() -> None:
    assert averaged(100, decay=0.999) > 0.999


def test_a_long_run_averages_as_slowly_as_asked_for() -> None:
    assert averaged(10, decay=0.99, first=100_000) == pytest.approx(1 - 0.99**10, abs=1e-5)


def test_only_steps_are_averaged() -> None:
    assert not MovingAverage(0.9).should_update(epoch_idx=3)
