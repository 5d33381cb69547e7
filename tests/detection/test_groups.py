"""Arithmetic over many groups at once does what a loop over the groups does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.detection import groups

members = st.lists(st.integers(0, 6), max_size=40).map(lambda found: np.array(sorted(found), dtype=int))


@given(group=members)
def test_neighbours_go_around_their_group(group: np.ndarray) -> None:
    before, after = groups.around(group)
    for one in np.unique(group):
        mine = np.flatnonzero(group == one)
        assert groups.first_of_each(group)[np.searchsorted(np.unique(group), one)] == mine[0]
        np.testing.assert_array_equal(after[mine], np.roll(mine, -1))
        np.testing.assert_array_equal(before[mine], np.roll(mine, 1))


@given(group=members, numbers=st.lists(st.integers(-2, 2), min_size=40, max_size=40))
def test_the_first_of_the_largest_is_taken(group: np.ndarray, numbers: list[int]) -> None:
    values = np.array(numbers[: len(group)], dtype=float)
    expected = [np.flatnonzero(group == one)[np.argmax(values[group == one])] for one in np.unique(group)]
    np.testing.assert_array_equal(groups.first_with_most(group, values), expected)


@pytest.mark.parametrize("at_once", [1, 7, 1 << 18])
@given(group=st.lists(st.integers(0, 6), max_size=30).map(lambda found: np.array(found, dtype=int)), other=members)
def test_each_pair_comes_once_however_many_at_a_time(at_once: int, group: np.ndarray, other: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "_PAIRS_AT_ONCE", at_once)
        blocks = list(groups.pairs(group, other))
    largest = max(np.bincount(other), default=0)
    assert all(len(i) <= max(at_once, largest) for i, _ in blocks)
    found = [pair for i, j in blocks for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert found == [(i, j) for i in range(len(group)) for j in range(len(other)) if group[i] == other[j]]
