"""Shared areas are those of an overlay."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from engine.detection.merging.tile_instances import Building
from engine.detection.polygons import shared_area
from engine.detection.polygons.shared_area import intersection_over_union, shared_areas
from engine.detection.polygons.tracing import polygons_of


def blobs(rng: np.random.Generator, count: int) -> np.ndarray:
    """Polygons along pixel borders, many with holes, some of which touch their shell."""
    found = []
    for _ in range(count):
        mask = ndimage.gaussian_filter(rng.standard_normal((24, 24)), rng.uniform(0.6, 2)) > 0
        found.append(polygons_of([Building(0, 0, mask, 1.0, 0)])[0][0])
    return np.array(found, dtype=object)


def stars(rng: np.random.Generator, count: int) -> np.ndarray:
    """Polygons with edges in all directions, every second one with a hole."""
    found = []
    for number in range(count):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        ring = 12 + rng.uniform(4, 14, (9, 1)) * np.stack([np.cos(angles), np.sin(angles)], -1)
        found.append(shapely.Polygon(ring, [12 + (ring[::-1] - 12) / 3] if number % 2 else None))
    return np.array([shapely.make_valid(star) for star in found], dtype=object)


@given(seed=st.integers(0, 2**32 - 1), east=st.integers(0, 10**6))
def test_they_are_those_of_an_overlay(seed: int, east: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = {"pixels": blobs(rng, 6), "any direction": stars(rng, 6)}
    for a in kinds.values():
        for b in kinds.values():
            usable = (shapely.get_type_id(a) == 3) & (shapely.get_type_id(b) == 3)
            a_, b_ = (shapely.transform(each[usable], lambda points: points + np.array([east, 7])) for each in (a, b))
            expected = shapely.area(shapely.intersection(a_, b_))
            np.testing.assert_allclose(shared_areas(a_, b_), expected, atol=1e-6)
            np.testing.assert_allclose(shared_areas(a_, shapely.reverse(b_)), expected, atol=1e-6)  # rings run either way


def test_what_is_apart_touches_or_is_the_same() -> None:
    a = np.array([shapely.box(0, 0, 2, 2)] * 4)
    b = np.array([shapely.box(5, 0, 6, 1), shapely.box(2, 0, 4, 2), shapely.box(0, 0, 2, 2), shapely.box(1, 1, 9, 1.5)])
    np.testing.assert_allclose(intersection_over_union(a, b), [0, 0, 1, 0.5 / 7.5], atol=1e-12)
    assert len(shared_areas(a[:0], b[:0])) == 0


def test_edges_that_are_hardly_not_horizontal_lose_no_digits() -> None:
    flat = shapely.Polygon([(0, 0), (1000, 1e-9), (1000, 1), (0, 1 + 1e-9)])
    assert shared_areas(np.array([flat]), np.array([shapely.box(0, -5, 500, 5)]))[0] == pytest.approx(500, abs=1e-6)


def test_a_huge_outline_is_measured_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    comb = shapely.union_all([shapely.box(0, 0, 4000, 1), *(shapely.box(k, 0, k + 1, 3) for k in range(0, 4000, 2))])
    monkeypatch.setattr(shared_area, "_PAIRS_AT_ONCE", 1000)
    assert shared_areas(np.array([comb]), np.array([shapely.box(0, 0, 4000, 2)]))[0] == pytest.approx(6000)


@pytest.mark.parametrize("at_once", [1, 7, 1 << 18])
@given(
    group=st.lists(st.integers(0, 6), max_size=30).map(lambda found: np.array(found, dtype=int)),
    other=st.lists(st.integers(0, 6), max_size=40).map(lambda found: np.array(sorted(found), dtype=int)),
)
def test_each_pair_comes_once_however_many_at_a_time(at_once: int, group: np.ndarray, other: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_area, "_PAIRS_AT_ONCE", at_once)
        blocks = list(shared_area._pairs(group, other))
    largest = max(np.bincount(other), default=0)
    assert all(len(i) <= max(at_once, largest) for i, _ in blocks)
    found = [pair for i, j in blocks for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert found == [(i, j) for i in range(len(group)) for j in range(len(other)) if group[i] == other[j]]
