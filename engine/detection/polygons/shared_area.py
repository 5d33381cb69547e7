"""How much area polygons share, pair by pair, without working out what they share.

Along a line of constant y a polygon is some intervals from a left to a right end. Their length is the sum of the right ends
less that of the left ones; the length that two polygons have in common is the sum over all pairs of their ends of the smaller
x of the two, counted positive for ends of the same kind and negative for others. Integrated over y, each pair of edges
contributes one integral of the smaller of two linear functions: exact, and quicker than an overlay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import shapely

from engine.detection.polygons.rings import Rings

_PAIRS_AT_ONCE = 1 << 18  # a few megabytes for each number that is worked out of them


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide the area that polygons share by that of their union: (N,) and (N,) valid polygons -> (N,)."""
    common = shared_areas(a, b)
    return common / (shapely.area(a) + shapely.area(b) - common)


def shared_areas(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the area that each pair of polygons shares: (N,) and (N,) valid polygons -> (N,)."""
    origins = shapely.bounds(a)[:, :2]  # small numbers keep their digits
    ours, theirs = _edges(a, origins), _edges(b, origins)
    areas = np.zeros(len(a))
    for i, j in _pairs(ours.polygon, theirs.polygon):
        low, high = np.maximum(ours.low[i], theirs.low[j]), np.minimum(ours.high[i], theirs.high[j])
        meet = high > low
        i, j, low, high = i[meet], j[meet], low[meet], high[meet]
        integrals = (high - low) * _mean_of_smaller(ours.x(i, low), ours.x(i, high), theirs.x(j, low), theirs.x(j, high))
        areas += np.bincount(ours.polygon[i], ours.kind[i] * theirs.kind[j] * integrals, minlength=len(a))
    return areas


class _Edges(NamedTuple):
    """Edges of polygons, without the horizontal ones, by polygon."""

    polygon: np.ndarray
    kind: np.ndarray  # 1 where the polygon ends to the right of it, -1 where it begins
    low: np.ndarray  # y
    high: np.ndarray
    start: np.ndarray  # x where y is low
    slope: np.ndarray  # of x by y

    def x(self, which: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.start[which] + self.slope[which] * (y - self.low[which])


def _edges(polygons: np.ndarray, origins: np.ndarray) -> _Edges:
    rings = Rings.of(polygons, origins)
    turns = np.where(shapely.is_ccw(rings.rings) == rings.is_shell, 1, -1)[rings.ring]
    steps = rings.edges()
    real = steps[:, 1] != 0
    (x, y), (dx, dy), turns = rings.points[real].T, steps[real].T, turns[real]
    up = dy > 0
    return _Edges(
        polygon=rings.polygon[rings.ring[real]],
        kind=np.where(up, turns, -turns),
        low=np.where(up, y, y + dy),
        high=np.where(up, y + dy, y),
        start=np.where(up, x, x + dx),
        slope=dx / dy,
    )


def _pairs(group: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def _mean_of_smaller(f0: np.ndarray, f1: np.ndarray, g0: np.ndarray, g1: np.ndarray) -> np.ndarray:
    """Return the mean of min(f, g) over an interval, of linear functions given at its ends."""
    d0, d1 = f0 - g0, f1 - g1
    a0, a1 = np.abs(d0), np.abs(d1)
    crossed = d0 * d1 < 0
    apart = np.where(crossed, (d0 * d0 + d1 * d1) / np.where(crossed, a0 + a1, 1), a0 + a1) / 2  # the mean of |f - g|
    return ((f0 + f1 + g0 + g1) / 2 - apart) / 2
