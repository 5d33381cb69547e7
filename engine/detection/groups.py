"""Arithmetic over many small groups at once, whose members stand one after the other: the points of rings, their walls.

A group is an integer, and those of the members are in increasing order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_PAIRS_AT_ONCE = 1 << 18  # a few megabytes for each number that is worked out of them


def first_of_each(group: np.ndarray) -> np.ndarray:
    """Return the position of the first member of each group that has any: (N,) -> (G,)."""
    return np.flatnonzero(np.diff(group, prepend=-1))


def around(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the members before and after each, the first one coming after the last: (N,) -> (N,), (N,)."""
    first, last = first_of_each(group), np.flatnonzero(np.diff(group, append=-1))
    before, after = np.arange(len(group)) - 1, np.arange(len(group)) + 1
    before[first], after[last] = last, first
    return before, after


def first_with_most(group: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the position of the largest number of each group that has any members, the first of equal ones."""
    first = first_of_each(group)
    most = np.repeat(np.maximum.reduceat(numbers, first), np.diff(first, append=len(group))) if len(first) else numbers
    largest = np.flatnonzero(numbers == most)
    return largest[first_of_each(group[largest])]


def pairs(group: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each member of one list with all members of the same group in another, a bounded number at a time.

    Args:
        group: (N,) of each member of the first list, here in any order.
        other: (M,) of each member of the second list.

    Yields:
        Positions in the first list and in the second of some of the pairs, those in the first in increasing order.
    """
    begins = np.searchsorted(other, group)
    counts = np.searchsorted(other, group, side="right") - begins
    before = np.concatenate([[0], np.cumsum(counts)])  # pairs of the members before each
    start = 0
    while start < len(group):
        stop = max(start + 1, int(np.searchsorted(before, before[start] + _PAIRS_AT_ONCE, side="right")) - 1)
        some = slice(start, stop)
        index = np.repeat(np.arange(start, stop), counts[some])
        nth = np.arange(len(index)) - np.repeat(before[some] - before[start], counts[some])
        yield index, begins[index] + nth
        start = stop
