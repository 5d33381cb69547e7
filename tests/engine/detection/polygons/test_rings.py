"""The rings of polygons, and what is measured along them, are those of a loop over the polygons."""

from __future__ import annotations

import math

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.detection.polygons.rings import Rings, Scatter, around, first_of_each

COURT = shapely.box(0, 0, 70, 60).difference(shapely.box(20, 20, 50, 40))


@given(group=st.lists(st.integers(0, 6), max_size=40).map(lambda found: np.array(sorted(found), dtype=int)))
def test_neighbours_go_around_their_group(group: np.ndarray) -> None:
    before, after = around(group)
    for one in np.unique(group):
        mine = np.flatnonzero(group == one)
        assert first_of_each(group)[np.searchsorted(np.unique(group), one)] == mine[0]
        np.testing.assert_array_equal(after[mine], np.roll(mine, -1))
        np.testing.assert_array_equal(before[mine], np.roll(mine, 1))


def test_rings_come_with_their_polygons_and_count_from_its_lower_corner() -> None:
    rings = Rings.of(np.array([shapely.box(10, 20, 14, 22), shapely.affinity.translate(COURT, 1e6, 0)]))
    np.testing.assert_array_equal(rings.polygon, [0, 1, 1])
    np.testing.assert_array_equal(rings.is_shell, [True, True, False])
    np.testing.assert_array_equal(np.bincount(rings.ring), [4, 4, 4])
    assert rings.points.min() == 0 and rings.points.max() == 70
    assert np.hypot(*rings.edges().T).sum() == 12 + 260 + 100


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_moments_between_points_are_those_of_many_samples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    star = shapely.Polygon([(r * math.cos(t), r * math.sin(t)) for t, r in zip(range(6), rng.uniform(3, 9, 6), strict=True)])
    rings = Rings.of(np.array([star]))
    breaks = np.zeros(6, dtype=bool)
    breaks[rng.choice(6, 3, replace=False)] = True
    ring, start, moments = rings.moments_between(breaks)
    np.testing.assert_array_equal(start, rings.points[breaks])
    np.testing.assert_array_equal(ring, [0, 0, 0])
    for begin, stop, found in zip(
        np.flatnonzero(breaks), [*np.flatnonzero(breaks)[1:], np.flatnonzero(breaks)[0] + 6], moments, strict=True
    ):
        section = shapely.LineString(rings.points[np.arange(begin, stop + 1) % 6])
        x, y = shapely.get_coordinates(
            shapely.line_interpolate_point(section, (np.arange(2_000) + 0.5) / 2_000, normalized=True)
        ).T
        expected = section.length * np.array([1, x.mean(), y.mean(), (x * x).mean(), (x * y).mean(), (y * y).mean()])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)


@given(seed=st.integers(0, 2**32 - 1), angle=st.floats(0, math.pi))
def test_scatter_around_a_line_is_the_squared_distance_from_it(seed: int, angle: float) -> None:
    x, y = np.random.default_rng(seed).uniform(-20, 20, (2, 7)) + 100
    moments = np.array([7, x.sum(), y.sum(), (x * x).sum(), (x * y).sum(), (y * y).sum()])
    scatter = Scatter.of(moments)

    def squared_distance(at: float) -> float:
        return float((((y - y.mean()) * math.cos(at) - (x - x.mean()) * math.sin(at)) ** 2).sum())

    np.testing.assert_allclose(scatter.around_line(angle), squared_distance(angle), atol=1e-6)
    np.testing.assert_allclose(scatter.around_best_line(), squared_distance(scatter.best_angles()), atol=1e-6)
    assert scatter.around_best_line() <= squared_distance(angle) + 1e-6


def test_turns_are_what_stays_of_each_ring_when_it_is_simplified() -> None:
    stairs = shapely.Polygon([(0, 0), (30, 0), (30, 10), (29, 10), (29, 11), (28, 11), (28, 12), (0, 12)])
    rings = Rings.of(shapely.transform(np.array([stairs, COURT]), lambda points: points + 1000))
    turns = rings.turns(1.0)
    assert turns[:8].sum() < 8 and {(30.0, 0.0), (0.0, 12.0)} <= set(map(tuple, rings.points[:8][turns[:8]].tolist()))
    assert turns[8:].all()
