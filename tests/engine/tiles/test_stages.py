"""Stages hand on everything in order, stop together, and let exactly one error surface."""

from __future__ import annotations

import random
import threading
import time

import pytest

from engine.tiles.stages import Channel, Stages, ThreadPool, results_of


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
    for kind, seconds in (("a", 0.01), ("b", 0.01), ("a", 0.02)):
        with stages.timed(kind):
            time.sleep(seconds)
    assert set(stages.seconds) == {"a", "b"}
    assert stages.seconds["a"] >= 0.03 and stages.seconds["b"] >= 0.01


def test_a_time_counts_once_however_many_threads_are_at_it():
    stages = Stages()
    inside = threading.Barrier(3)

    def work():
        with stages.timed("a"):
            inside.wait(timeout=10)
            time.sleep(0.2)

    started = time.perf_counter()
    for name in ("first", "second", "third"):
        stages.start(name, work)
    stages.join("first", "second", "third")
    assert 0.2 <= stages.seconds["a"] <= time.perf_counter() - started


@pytest.mark.parametrize("threads", [1, 4])
def test_a_crew_keeps_its_promises_in_order(threads):
    stages, pool = Stages(), ThreadPool("doubling", threads)
    channel = Channel(3, stops=[stages.failed])
    busy, most, lock, arrived = 0, 0, threading.Lock(), []
    patience = random.Random(0)
    pauses = [patience.random() * 0.01 for _ in range(60)]

    def double(number):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(pauses[number])
        with lock:
            busy -= 1
        return 2 * number

    def produce():
        for number in range(60):
            channel.put(pool.submit(double, number))

    stages.start("produce", produce, feeds=channel)
    stages.start("consume", lambda: arrived.extend(results_of(channel)))
    stages.join("produce", "consume", timeout=20)
    stages.raise_error()
    assert arrived == [2 * number for number in range(60)]
    assert (most > 1) == (threads > 1)
    assert pool.shutdown(timeout=1)


def test_what_a_crew_fails_at_surfaces_where_its_result_was_wanted():
    stages, pool = Stages(), ThreadPool("dividing", 2)
    channel = Channel(100, stops=[stages.failed])
    arrived = []
    for divisor in (4, 2, 0, 1):
        channel.put(pool.submit(lambda by: 8 / by, divisor))

    def consume():
        for number in results_of(channel):
            arrived.append(number)

    stages.start("consume", consume)
    stages.join("consume", timeout=5)
    with pytest.raises(ZeroDivisionError):
        stages.raise_error()
    assert arrived == [2, 4]


def test_who_waits_for_a_promise_stops_with_the_job_and_a_dismissed_crew_begins_nothing():
    stop, release = threading.Event(), threading.Event()
    stages, pool, arrived, begun = Stages(), ThreadPool("waiting", 1), [], []
    channel = Channel(10, stops=[stop])

    def wait(number):
        begun.append(number)
        release.wait(timeout=20)

    for number in range(3):
        channel.put(pool.submit(wait, number))
    stages.start("consume", lambda: arrived.extend(results_of(channel)))
    stop.set()
    stages.join("consume", timeout=5)
    assert not stages.running("consume")
    assert not pool.shutdown(timeout=0.05)  # the first is still at it
    release.set()
    assert pool.shutdown(timeout=5)
    assert begun == [0] and arrived == []
