"""Partitions of rings are the cheapest ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.detection.polygons.edge_partition import ACROSS, ALONG, OBLIQUE, PRICES, Edges, Spans
from engine.detection.polygons.rings import Rings

SCALE = 28.0


def star(rng: np.random.Generator, points: int) -> shapely.Polygon:
    angles = (np.arange(points) + rng.uniform(-0.3, 0.3, points)) * 2 * math.pi / points
    radii = rng.uniform(8, 30, points)
    return shapely.Polygon(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1))


def partitioned(polygons: list[shapely.Polygon], angle: float, *, oblique: bool = True) -> Edges:
    rings = Rings.of(np.array(polygons, dtype=object))
    parts = []
    for spans in Spans.of(*rings.moments_between(np.ones(len(rings.points), dtype=bool))):
        along = np.full(len(spans), angle)
        parts.append(spans.partitioned(along, along + math.pi / 2, np.full(len(spans), SCALE), oblique=oblique))
    return Edges.joined(parts)


def cost_of(edges: Edges, angle: float) -> float:
    scatter = edges.scatter
    straight = scatter.around_line(angle + math.pi / 2 * (edges.kind == ACROSS))
    residual = np.where(edges.kind == OBLIQUE, scatter.around_best_line(), straight)
    return float((np.take(PRICES, edges.kind) + residual / SCALE).sum())


def least_cost(polygon: shapely.Polygon, angle: float) -> float:
    """Try all partitions of a small ring, one edge of each span being the cheapest of its kind that may be there."""
    rings = Rings.of(np.array([polygon]))
    (spans,) = Spans.of(*rings.moments_between(np.ones(len(rings.points), dtype=bool)))
    costs = spans._costs(np.array([angle]), np.array([angle + math.pi / 2]), np.array([SCALE]), oblique=True)[:, 0]
    count, best = len(rings.points), math.inf
    for size in range(3, count + 1):
        for corners in itertools.combinations(range(count), size):
            steps = [
                (after - corner) % count or count for corner, after in zip(corners, (*corners[1:], corners[0]), strict=True)
            ]
            each = [costs[:, corner, step - 1] for corner, step in zip(corners, steps, strict=True)]
            best = min(best, _least_sum(each))
    return best / 1024


def _least_sum(each: list[np.ndarray]) -> float:
    least = math.inf
    for first in (ALONG, ACROSS, OBLIQUE):
        so_far = {first: each[0][first]}
        for costs in each[1:]:
            so_far = {
                kind: min(cost for before, cost in so_far.items() if before != kind or kind == OBLIQUE) + costs[kind]
                for kind in (ALONG, ACROSS, OBLIQUE)
                if any(before != kind or kind == OBLIQUE for before in so_far)
            }
        least = min([least, *(cost for kind, cost in so_far.items() if kind != first or kind == OBLIQUE)])
    return least


def test_most_partitions_are_the_cheapest_and_none_is_much_dearer() -> None:
    rng = np.random.default_rng(0)
    polygons = [star(rng, int(rng.integers(4, 9))) for _ in range(60)]
    edges = partitioned(polygons, 0.3)
    dearer = []
    for index, polygon in enumerate(polygons):
        mine = edges[edges.ring == index]
        if len(mine):
            dearer.append(cost_of(mine, 0.3) - least_cost(polygon, 0.3))
    assert len(dearer) >= 55
    assert min(dearer) > -0.05  # costs are rounded to a thousandth each
    assert np.mean(np.array(dearer) < 0.05) >= 0.9
    assert max(dearer) < 2 * max(PRICES)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), angle=st.floats(-1, 1))
def test_edges_go_round_each_ring_once(seed: int, angle: float) -> None:
    rng = np.random.default_rng(seed)
    polygons = [star(rng, int(rng.integers(3, 30))) for _ in range(8)]
    for oblique in (True, False):
        edges = partitioned(polygons, angle, oblique=oblique)
        assert (np.diff(edges.ring) >= 0).all()
        assert oblique or not (edges.kind == OBLIQUE).any()
        for index in np.unique(edges.ring):
            mine = edges[edges.ring == index]
            assert len(mine) >= 3
            assert mine.length.sum() == pytest.approx(polygons[index].length)
            assert mine.length.max() < polygons[index].length / 2
            assert all(a != b or a == OBLIQUE for a, b in zip(mine.kind, np.roll(mine.kind, -1), strict=True))


def test_what_a_ring_becomes_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(1)
    polygons = [star(rng, int(rng.integers(4, 120))) for _ in range(60)]
    together = partitioned(polygons, 0.2)
    for index in range(0, 60, 7):
        alone, among = partitioned(polygons[index : index + 1], 0.2), together[together.ring == index]
        np.testing.assert_array_equal(alone.kind, among.kind)
        np.testing.assert_array_equal(alone.start, among.start)


@pytest.mark.parametrize(("left", "depth", "edges"), [(0, 1, 4), (0, 3, 6), (20, 2, 4), (20, 4, 8)])
def test_a_notch_and_a_bay_have_to_be_worth_their_corners(left: int, depth: int, edges: int) -> None:
    """At a corner two edges more, which cost 56 cubic pixels; in the middle of an edge four. They are 20 pixels wide."""
    bay = shapely.box(0, 0, 60, 40).difference(shapely.box(left, 0, left + 20, depth))
    found = partitioned([bay], 0.0)
    assert len(found) == edges
    assert set(found.kind.tolist()) == {ALONG, ACROSS}
