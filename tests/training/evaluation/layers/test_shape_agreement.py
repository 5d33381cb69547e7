"""Measures of two outlines, on shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import affinity

from training.evaluation.in_chunks import CHUNK, in_chunks
from training.evaluation.layers.shape_agreement import (
    area_errors,
    boundary_ious,
    direction_errors,
    main_directions,
    polis_distances,
    vertex_counts,
    vertex_ratios,
)

SQUARE = shapely.box(0, 0, 10, 10)
RING = SQUARE.difference(shapely.box(3, 3, 7, 7))
L_SHAPE = shapely.Polygon([(0, 0), (12, 0), (12, 4), (4, 4), (4, 9), (0, 9)])


def one(measure, first, second, **options) -> float:
    return float(measure(np.array([first]), np.array([second]), **options)[0])


def staircase(shape: shapely.Geometry, step: float = 0.3) -> shapely.Geometry:
    """Return the pixels whose centres lie in a shape, as a mask's raw outline."""
    left, bottom, right, top = shape.bounds
    x, y = np.meshgrid(np.arange(left, right, step), np.arange(bottom, top, step))
    inside = shapely.contains_xy(shape, x + step / 2, y + step / 2)
    return shapely.union_all(shapely.set_precision(shapely.box(x, y, x + step, y + step)[inside], 1e-6))


@pytest.mark.parametrize("shape", [SQUARE, RING, L_SHAPE, shapely.MultiPolygon([SQUARE, shapely.box(20, 0, 25, 5)])])
def test_an_outline_agrees_with_itself(shape):
    assert one(area_errors, shape, shape) == 0
    assert one(polis_distances, shape, shape) == 0
    assert one(boundary_ious, shape, shape) == pytest.approx(1)
    assert one(vertex_ratios, shape, shape) == 1
    assert one(direction_errors, shape, shape) == 0


def test_polis_of_a_moved_square():
    # two of four corners lie 1 beside the other border at each side, two lie on it
    assert one(polis_distances, SQUARE, affinity.translate(SQUARE, 1, 0)) == pytest.approx(0.5)
    # a square within a square: corners are 1 from the border seen from inside, sqrt(2) seen from outside
    assert one(polis_distances, shapely.box(1, 1, 9, 9), SQUARE) == pytest.approx((1 + 2**0.5) / 2)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.5, 2))
def test_polis_is_symmetric(x, y, size):
    other = affinity.scale(affinity.translate(L_SHAPE, x, y), size, size)
    assert one(polis_distances, L_SHAPE, other) == pytest.approx(one(polis_distances, other, L_SHAPE))


def test_points_along_an_edge_change_polis_little_and_the_vertex_ratio_much():
    dense = shapely.segmentize(SQUARE, 1)
    assert one(polis_distances, dense, SQUARE) == 0
    assert one(vertex_ratios, dense, SQUARE) == 10


def test_vertices_of_holes_and_parts_count_and_closing_points_do_not():
    shapes = np.array([SQUARE, RING, L_SHAPE, shapely.MultiPolygon([RING, affinity.translate(L_SHAPE, 50, 0)])])
    assert vertex_counts(shapes).tolist() == [4, 8, 6, 14]


@pytest.mark.parametrize("width", [0.5, 1, 3, 20])
@pytest.mark.parametrize("other", [affinity.translate(SQUARE, 1, 0.5), RING, L_SHAPE, affinity.rotate(SQUARE, 20)])
def test_boundary_iou_is_that_of_the_strips(other, width):
    strips = [shape.difference(shape.buffer(-width, quad_segs=4)) for shape in (SQUARE, other)]
    expected = strips[0].intersection(strips[1]).area / strips[0].union(strips[1]).area
    assert one(boundary_ious, SQUARE, other, width=width) == pytest.approx(expected, abs=1e-9)


def test_boundary_iou_is_harder_than_iou_and_equal_where_all_is_border():
    moved = affinity.translate(SQUARE, 1, 0)
    assert one(boundary_ious, SQUARE, moved, width=1) < 90 / 110
    assert one(boundary_ious, SQUARE, moved, width=10) == pytest.approx(90 / 110)


def test_area_errors_keep_their_sign():
    assert one(area_errors, shapely.box(0, 0, 5, 10), SQUARE) == pytest.approx(-0.5)
    assert one(area_errors, SQUARE, shapely.box(0, 0, 5, 10)) == pytest.approx(1.0)


@given(st.floats(-180, 180), st.floats(0, 360))
def test_directions_differ_by_the_turn(turn, start):
    shape = affinity.rotate(L_SHAPE, start)
    expected = min(turn % 90, 90 - turn % 90)
    assert one(direction_errors, affinity.rotate(shape, turn), shape) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("turn", [0, 10, 30, 45, 80])
def test_the_direction_of_a_building_is_seen_through_the_steps_of_its_pixels(turn):
    shape = affinity.rotate(shapely.box(0, 0, 18, 9), turn)
    assert one(direction_errors, staircase(shape), shape) < 2
    assert main_directions(np.array([shape]))[0] == pytest.approx(turn, abs=1e-6)


def test_no_pairs_have_no_measures():
    none = np.zeros(0, dtype=object)
    for measure in (area_errors, polis_distances, boundary_ious, vertex_ratios, direction_errors):
        assert len(measure(none, none)) == 0


def test_chunks_give_what_one_call_gives_and_tell_how_far_they_are():
    values = np.arange(5 * CHUNK + 3)
    told: list[float] = []
    assert (in_chunks(np.square, values, progress=told.append) == values**2).all()
    assert told == sorted(told) and told[-1] == 1


def test_what_the_progress_raises_ends_the_work():
    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        in_chunks(np.square, np.arange(50 * CHUNK), progress=stop)
