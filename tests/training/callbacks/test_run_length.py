"""A run is as long as its steps, or as its minutes, whatever it was stopped and resumed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import training.callbacks.run_length
from training.callbacks.run_length import RunLength


def test_steps_count_where_steps_are_given() -> None:
    length = RunLength(steps=200, minutes=None)
    assert [length.share(step) for step in (0, 50, 200, 300)] == [0, 0.25, 1, 1]
    assert length.expected_steps(3) == 200


def test_the_clock_decides_where_minutes_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(training.callbacks.run_length.time, "monotonic", lambda: now)
    trainer = SimpleNamespace(global_step=30, should_stop=False, world_size=1)
    length = RunLength(steps=None, minutes=2)
    length.on_train_start(trainer, None)
    now += 30
    length.on_train_batch_end(trainer, None)
    assert length.share(30) == 0.25 and length.expected_steps(30) == 120 and not trainer.should_stop

    resumed = RunLength(steps=None, minutes=2)
    resumed.load_state_dict(length.state_dict())
    now += 5000  # between the parts of a run nothing counts
    resumed.on_train_start(trainer, None)
    now += 60
    resumed.on_validation_end(trainer, None)
    assert resumed.share(30) == 0.75 and not trainer.should_stop
    now += 31
    resumed.on_train_batch_end(trainer, None)
    assert resumed.share(30) == 1 and trainer.should_stop
