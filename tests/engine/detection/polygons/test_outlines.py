"""Outlines with right angles, that stay what the mask said."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage

from engine.detection.merging.tile_instances import Building
from engine.detection.polygons.outlines import LEAST_SHARED, SMALLEST_HOLE, outlines_of
from engine.detection.polygons.tracing import polygons_of
from tests.engine.detection.label_towns import TOWNS

L_SHAPE = shapely.Polygon([(0, 0), (60, 0), (60, 25), (25, 25), (25, 50), (0, 50)])
U_SHAPE = shapely.Polygon([(0, 0), (70, 0), (70, 50), (50, 50), (50, 20), (20, 20), (20, 50), (0, 50)])
COURT = shapely.box(0, 0, 70, 60).difference(shapely.box(20, 20, 50, 40))


def drawn(shape: shapely.Polygon, angle: float = 0.0, *, shift: tuple[float, float] = (0.0, 0.0)) -> shapely.Polygon:
    """Turn a shape, draw it on pixels, and trace them."""
    turned = shapely.affinity.rotate(shape, angle, origin=(0, 0))
    left, top, right, bottom = turned.bounds
    moved = shapely.affinity.translate(turned, 3 - left + shift[0], 3 - top + shift[1])
    mask = rasterize([(moved, 1)], out_shape=(int(bottom - top) + 8, int(right - left) + 8)).astype(bool)
    ((polygon, *_),) = polygons_of([Building(0, 0, mask, 1.0, 0)])
    return polygon


def regular(polygon: shapely.Polygon) -> shapely.Polygon:
    (outline,) = outlines_of([polygon], kind="regular")
    return outline


def shared(a: shapely.Polygon, b: shapely.Polygon) -> float:
    return a.intersection(b).area / a.union(b).area


def vertices(polygon: shapely.Polygon) -> int:
    return shapely.get_num_coordinates(polygon.exterior) - 1


def turns_of(polygon: shapely.Polygon) -> np.ndarray:
    """Angles at the corners of the shell, in degrees from 0 to 90."""
    edges = np.diff(shapely.get_coordinates(polygon.exterior), axis=0) @ np.array([1, 1j])
    return np.degrees(np.arccos(np.clip(np.abs((np.conj(edges) * np.roll(edges, -1)).real) /
                                        (np.abs(edges) * np.abs(np.roll(edges, -1))), 0, 1)))  # fmt: skip


@settings(max_examples=80)
@given(
    width=st.floats(10, 80),
    height=st.floats(10, 80),
    angle=st.floats(-90, 90),
    shift=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_rectangle_at_any_angle_has_four_corners(
    width: float, height: float, angle: float, shift: tuple[float, float]
) -> None:
    raw = drawn(shapely.box(0, 0, width, height), angle, shift=shift)
    outline = regular(raw)
    assert outline.is_valid
    assert shared(outline, raw) >= LEAST_SHARED
    if min(width, height) >= 12:
        assert vertices(outline) == 4
        np.testing.assert_allclose(turns_of(outline), 90, atol=1e-5)
        assert outline.area == pytest.approx(raw.area, rel=0.04)


@pytest.mark.parametrize("angle", [0, 7, 22, 30, 45, 63, 80])
@pytest.mark.parametrize(("shape", "corners"), [(L_SHAPE, 6), (U_SHAPE, 8)])
def test_l_and_u_shapes_keep_their_corners(shape: shapely.Polygon, corners: int, angle: float) -> None:
    raw = drawn(shape, angle)
    outline = regular(raw)
    assert vertices(outline) == corners
    np.testing.assert_allclose(turns_of(outline), 90, atol=1e-5)
    assert shared(outline, raw) > 0.95
    assert outline.area == pytest.approx(shape.area, rel=0.02)


@pytest.mark.parametrize("angle", [0, 20, 45])
def test_a_courtyard_stays_and_a_speck_goes(angle: float) -> None:
    raw = drawn(COURT, angle)
    outline = regular(raw)
    (hole,) = outline.interiors
    assert len(hole.coords) == 5
    assert shapely.Polygon(hole).area == pytest.approx(600, rel=0.05)
    speck = shapely.box(0, 0, 30, 30).difference(shapely.box(10, 10, 12, 13))
    assert speck.interiors and shapely.Polygon(speck.interiors[0]).area < SMALLEST_HOLE
    for kind, holes in (("raw", 1), ("simplified", 0), ("regular", 0)):
        assert len(outlines_of([speck], kind=kind)[0].interiors) == holes


def test_an_outline_along_the_pixels_is_left_as_it_is() -> None:
    for shape in (shapely.box(3, 4, 33, 24), shapely.box(0, 0, 1, 1), L_SHAPE, COURT):
        assert regular(shape).equals(shape)


def test_an_oblique_wall_stays_oblique() -> None:
    trapezoid = shapely.Polygon([(0, 0), (70, 0), (70, 30), (0, 55)])
    outline = regular(drawn(trapezoid, 10))
    assert vertices(outline) == 4
    assert np.count_nonzero(np.abs(turns_of(outline) - 90) < 1e-5) == 2
    assert shared(outline, drawn(trapezoid, 10)) > 0.95


@pytest.mark.parametrize("radius", [10, 20, 40])
def test_a_round_tank_is_not_squared(radius: float) -> None:
    raw = drawn(shapely.Point(0, 0).buffer(radius))
    outline = regular(raw)
    assert vertices(outline) >= 8
    assert shared(outline, raw) > 0.93


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["regular", "simplified"]))
def test_whatever_the_mask_outlines_are_valid_polygons_that_share_what_they_must(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    labels = TOWNS[["noise", "shapes", "cells"][seed % 3]](rng, 80, 80)
    buildings = [
        Building(box[1].start, box[0].start, labels[box] == number, 1.0, 0)
        for number, box in enumerate(ndimage.find_objects(labels), 1)
    ]
    raw = np.array([p for polygons in polygons_of(buildings) for p in polygons], dtype=object)
    outlines = outlines_of(raw, kind=kind)
    assert shapely.is_valid(outlines).all()
    assert (shapely.get_type_id(outlines) == shapely.GeometryType.POLYGON).all()
    simplified = outlines_of(raw, kind="simplified")
    for was, outline, fallback in zip(raw, outlines, simplified, strict=True):
        assert outline.equals(fallback) or shared(outline, was) >= LEAST_SHARED
    again = outlines_of(raw, kind=kind)
    assert shapely.equals_exact(outlines, again).all()


@settings(max_examples=30)
@given(angle=st.floats(0, 90), dx=st.integers(-500, 500), dy=st.integers(-500, 500))
def test_a_shift_and_a_quarter_turn_of_the_raster_change_nothing_else(angle: float, dx: int, dy: int) -> None:
    raw = drawn(L_SHAPE, angle)
    outline = regular(raw)
    moved = regular(shapely.affinity.translate(raw, dx, dy))
    assert shared(shapely.affinity.translate(moved, -dx, -dy), outline) > 0.995
    turned = regular(shapely.affinity.rotate(raw, 90, origin=(0, 0)))
    assert shared(shapely.affinity.rotate(turned, -90, origin=(0, 0)), outline) > 0.98


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), shift=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_an_outline_depends_on_neither_its_place_nor_its_company(seed: int, shift: tuple[int, int]) -> None:
    """Lengths of walls are often just what a rule asks for: a digit lost far from the origin would decide otherwise."""
    rng = np.random.default_rng(seed)
    shapes = [[L_SHAPE, U_SHAPE, COURT][number % 3] for number in range(12)]
    masks = [shapely.affinity.scale(shape, *rng.uniform(0.4, 1.2, 2)) for shape in shapes]
    raw = np.array([drawn(shape, rng.uniform(0, 90)) for shape in masks], dtype=object)
    outlines = outlines_of(raw, kind="regular")
    moved = outlines_of(shapely.transform(raw, lambda points: points + shift), kind="regular")
    assert shapely.equals_exact(shapely.transform(moved, lambda points: points - shift), outlines, tolerance=2e-6).all()
    alone = [regular(polygon) for polygon in raw]
    assert shapely.equals_exact(alone, outlines, tolerance=1e-9).all()
    order = rng.permutation(len(raw))
    assert shapely.equals_exact(outlines_of(raw[order], kind="regular"), outlines[order], tolerance=1e-9).all()


@pytest.mark.parametrize("shape", [L_SHAPE, U_SHAPE, COURT, shapely.box(0, 0, 40, 20)])
def test_a_regular_outline_stays_what_it_is(shape: shapely.Polygon) -> None:
    for angle in range(0, 90, 11):
        outline = regular(drawn(shape, angle))
        again = regular(outline)
        assert vertices(again) == vertices(outline)
        assert shared(again, outline) > 0.999


@pytest.mark.parametrize("smooth", [0.8, 3.0])
def test_what_nobody_would_square_stays_simplified(smooth: float) -> None:
    """A noisy mask as large as a quarter: its outline has thousands of corners, for each pair of which there is no time."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((700, 700)), smooth)
    parts, _ = ndimage.label(noise > -0.05 * noise.std())
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    raw = polygons_of([Building(0, 0, largest, 1.0, 0)])[0][:1]
    (simplified,) = outlines_of(raw, kind="simplified")
    assert shapely.get_num_coordinates(simplified) > 1000
    (outline,) = outlines_of(raw, kind="regular")
    assert outline.equals(simplified)


def test_right_angles_are_those_on_the_ground() -> None:
    flat = shapely.affinity.scale(shapely.affinity.rotate(shapely.box(0, 0, 60, 40), 30), 1, 0.8, origin=(0, 0))
    (outline,) = outlines_of([drawn(flat)], kind="regular", pixel_size=(0.24, 0.3))
    on_ground = shapely.affinity.scale(outline, 0.24, 0.3, origin=(0, 0))
    assert vertices(outline) == 4
    np.testing.assert_allclose(turns_of(on_ground), 90, atol=1e-5)


def test_raw_is_raw_and_nothing_is_nothing() -> None:
    raw = [drawn(L_SHAPE, 20)]
    assert outlines_of(raw, kind="raw")[0] is raw[0]
    for kind in ("raw", "simplified", "regular"):
        assert len(outlines_of([], kind=kind)) == 0


def test_simplified_stays_within_a_pixel() -> None:
    raw = drawn(U_SHAPE, 33)
    (outline,) = outlines_of([raw], kind="simplified")
    assert vertices(outline) < vertices(raw) / 4
    assert shapely.hausdorff_distance(outline.exterior, raw.exterior, densify=0.1) <= 1.001


@pytest.mark.slow
def test_it_is_nearer_to_the_truth_than_buildingregulariser() -> None:
    """The truth being buildings drawn on pixels, with the wobble of a network's masks."""
    oracle = pytest.importorskip("buildingregulariser")
    geopandas = pytest.importorskip("geopandas")
    rng = np.random.default_rng(0)
    truth, raw = [], []
    for number in range(200):
        shape = [L_SHAPE, U_SHAPE, shapely.box(0, 0, 50, 30)][number % 3]
        turned = shapely.affinity.rotate(shapely.affinity.scale(shape, *rng.uniform(0.7, 1.3, 2)), rng.uniform(0, 90))
        left, top, right, bottom = turned.bounds
        moved = shapely.affinity.translate(turned, 8 - left, 8 - top)
        mask = rasterize([(moved, 1)], out_shape=(int(bottom - top) + 16, int(right - left) + 16))
        noise = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 2.5)
        parts, _ = ndimage.label(ndimage.gaussian_filter(mask.astype(float), 2) + noise > 0.5)
        largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        raw.append(polygons_of([Building(0, 0, largest, 1.0, 0)])[0][0])
        truth.append(moved)
    started = time.process_time()
    ours = outlines_of(raw, kind="regular")
    ours_took = time.process_time() - started
    theirs = oracle.regularize_geodataframe(
        geopandas.GeoDataFrame(geometry=raw, crs=32645), simplify_tolerance=1.5, num_cores=1
    ).geometry
    theirs_took = time.process_time() - started - ours_took
    print(f"us a polygon: {ours_took / len(raw) * 1e6:.0f}, buildingregulariser {theirs_took / len(raw) * 1e6:.0f}")
    mean = [np.mean([shared(a, b) for a, b in zip(outlines, truth, strict=True)]) for outlines in (ours, theirs, raw)]
    print(f"shared with the truth: {mean[0]:.4f}, buildingregulariser {mean[1]:.4f}, masks {mean[2]:.4f}")
    assert mean[0] > max(mean[1:])
