"""Arrays come to other processes whole, and those who looked at them before see no difference."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from training.data.shared_array import SharedArray


@pytest.mark.parametrize(
    "values",
    [
        np.arange(12, dtype=np.int16).reshape(3, 4),
        np.array([True, False]),
        np.array([b"one", b"seven"]),
        np.array([0.5, np.nan]),
        np.zeros((0, 4)),
        np.arange(10)[::3],
    ],
)
def test_an_array_arrives_as_it_is(values: np.ndarray) -> None:
    received = pickle.loads(pickle.dumps(SharedArray(values))).values
    assert received.dtype == values.dtype and received.shape == values.shape
    assert np.array_equal(received, values, equal_nan=values.dtype.kind == "f")


def test_what_was_looked_at_before_it_was_shared_stays_what_it_is() -> None:
    shared = SharedArray(np.arange(100_000))
    before = shared.values
    shared.share()
    shared.share()
    np.random.default_rng(0).random(200_000)  # takes memory that was given back, if it was
    assert np.array_equal(before, np.arange(100_000)) and np.array_equal(shared.values, before)
