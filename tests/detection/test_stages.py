"""Stages hand on everything in order, stop together, and let exactly one error surface."""

from __future__ import annotations

import threading

import pytest

from engine.detection.stages import Channel, Stages


def chain(stages: Stages, count: int, size: int, *, fails_at: int | None = None) -> tuple[list[int], list[int]]:
    """Run a producer, a doubler that may fail and a consumer; return what was made and what arrived."""
    made, arrived = [], []
    first, second = Channel(size, stops=[stages.failed]), Channel(size, stops=[stages.failed])

    def produce():
        for number in range(count):
            first.put(number)
            made.append(number)

    def double():
        for number in first:
            if number == fails_at:
                raise ValueError(f"no {number} please")
            second.put(2 * number)

    stages.start("produce", produce, feeds=first)
    stages.start("double", double, feeds=second)
    stages.start("consume", lambda: arrived.extend(second))
    stages.join("produce", "double", "consume", timeout=20)
    return made, arrived


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_everything_arrives_in_order(count, size):
    stages = Stages()
    _, arrived = chain(stages, count, size)
    stages.raise_error()
    assert arrived == [2 * number for number in range(count)]


def test_an_error_stops_all_stages_and_surfaces(size=2):
    stages = Stages()
    made, _ = chain(stages, 10_000, size, fails_at=5)
    assert not stages.running("produce", "double", "consume")
    assert len(made) < 20  # the producer did not run on
    with pytest.raises(ValueError, match="no 5 please"):
        stages.raise_error()


def test_a_channel_holds_no_more_than_its_size():
    stop = threading.Event()
    channel = Channel(3, stops=[stop])
    stages = Stages()
    made = []

    def produce():
        for number in range(100):
            channel.put(number)
            made.append(number)

    stages.start("produce", produce)
    stages.join("produce", timeout=0.3)
    assert len(made) == 3
    stop.set()
    stages.join("produce", timeout=5)
    stages.raise_error()  # being stopped is no error
    assert list(channel) == []


def test_busy_time_is_counted_by_kind():
    stages = Stages()
    with stages.timed("a"):
        pass
    with stages.timed("a"):
        pass
    assert set(stages.seconds) == {"a"}
    assert stages.seconds["a"] >= 0
