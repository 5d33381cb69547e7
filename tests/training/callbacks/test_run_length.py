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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(training.callbacks.run_length.time, "monotonic", lambda: clock.now)
    return clock


def trainer_of_one() -> SimpleNamespace:
    return SimpleNamespace(global_step=30, should_stop=False, world_size=1)


def module_that_validates_in(seconds: float) -> SimpleNamespace:
    return SimpleNamespace(estimate_validation=lambda: seconds)


def test_the_clock_decides_where_minutes_are_given(clock: SimpleNamespace) -> None:
    trainer, module = trainer_of_one(), module_that_validates_in(0.0)
    length = RunLength(steps=None, minutes=2)
    clock.now += 10  # reading the data is part of the run
    length.on_train_start(trainer, module)
    clock.now += 20
    length.on_train_batch_end(trainer, module)
    assert length.share(30) == 0.25 and length.expected_steps(30) == 120 and not trainer.should_stop

    clock.now += 5000  # between the parts of a run nothing counts
    resumed = RunLength(steps=None, minutes=2)
    resumed.load_state_dict(length.state_dict())
    resumed.on_train_start(trainer, module)
    clock.now += 61
    resumed.on_train_batch_end(trainer, module)
    assert resumed.share(30) == pytest.approx(91 / 120) and not trainer.should_stop
    clock.now += 30
    resumed.on_train_batch_end(trainer, module)
    assert resumed.share(30) == 1 and trainer.should_stop


def test_steps_end_early_enough_for_the_last_validation(clock: SimpleNamespace) -> None:
    trainer, module = trainer_of_one(), module_that_validates_in(20.0)
    length = RunLength(steps=None, minutes=2, afterwards=0.2)
    length.on_train_start(trainer, module)
    assert length.reserve == pytest.approx(30)  # half as long again
    clock.now += 45
    length.on_train_batch_end(trainer, module)
    assert length.share(30) == 0.5 and not trainer.should_stop
    length.on_validation_start(trainer, module)
    clock.now += 40  # longer than it seemed
    length.on_validation_end(trainer, module)
    assert length.seconds == 85 and length.reserve == pytest.approx(60)
    length.on_train_batch_end(trainer, module)
    assert trainer.should_stop


def test_a_validation_longer_than_the_run_leaves_one_step(clock: SimpleNamespace) -> None:
    trainer, module = trainer_of_one(), module_that_validates_in(500.0)
    length = RunLength(steps=None, minutes=2)
    length.on_train_start(trainer, module)
    assert length.share(0) == 0
    clock.now += 3
    length.on_train_batch_end(trainer, module)
    assert trainer.should_stop
