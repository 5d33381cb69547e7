"""Buildings come back as a person would draw them: with as many corners as they have, where they are."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from shapely import affinity

from benchmarks.outlines import share_right_angled, turns_of, wobbly_masks
from engine.detection.merging.tile_instances import Building
from engine.detection.polygons.orthogonalize import MOST_TURNS, orthogonalized
from engine.detection.polygons.tracing import polygons_of

SHAPES = {
    "rectangle": shapely.box(0, 0, 50, 30),
    "L": shapely.Polygon([(0, 0), (60, 0), (60, 25), (25, 25), (25, 50), (0, 50)]),
    "T": shapely.Polygon([(0, 0), (70, 0), (70, 22), (46, 22), (46, 55), (24, 55), (24, 22), (0, 22)]),
    "U": shapely.Polygon([(0, 0), (70, 0), (70, 50), (50, 50), (50, 20), (20, 20), (20, 50), (0, 50)]),
    "courtyard": shapely.box(0, 0, 70, 60).difference(shapely.box(20, 20, 50, 40)),
}
names = st.sampled_from(sorted(SHAPES))
places = st.tuples(st.floats(0, 300), st.floats(0, 300))


def corners_of(polygon: shapely.Polygon) -> int:
    return shapely.get_num_coordinates(polygon) - len(shapely.get_rings(polygon))


def exact_mask(shape: shapely.Geometry) -> shapely.Polygon:
    left, top = np.floor(shape.bounds[:2]).astype(int) - 2
    width, height = np.ceil(np.array(shape.bounds[2:]) - (left, top)).astype(int) + 2
    mask = rasterize([(affinity.translate(shape, -left, -top), 1)], out_shape=(height, width)).astype(bool)
    return polygons_of([Building(int(left), int(top), mask, 1.0, 0)])[0][0]


def placed(name: str, scale: float, angle: float, place: tuple[float, float]) -> shapely.Polygon:
    return affinity.translate(affinity.rotate(affinity.scale(SHAPES[name], scale, scale), angle), *place)


def off_by(outline: shapely.Polygon, truth: shapely.Polygon) -> float:
    """Largest distance between the two borders, in pixels."""
    return shapely.hausdorff_distance(outline.boundary, truth.boundary, densify=0.05)


def fitted(masks: list[shapely.Polygon] | np.ndarray) -> np.ndarray:
    return orthogonalized(np.asarray(masks, dtype=object))


@settings(max_examples=100)
@given(name=names, scale=st.floats(0.5, 2.5), angle=st.floats(-90, 90), place=places)
def test_exact_masks_give_the_building_back(name: str, scale: float, angle: float, place: tuple[float, float]) -> None:
    truth = placed(name, scale, angle, place)
    mask = exact_mask(truth)
    (outline,) = fitted([mask])
    assert outline.is_valid
    assert corners_of(outline) == corners_of(truth)
    assert share_right_angled(turns_of([outline])) == 1
    assert off_by(outline, truth) <= 1
    assert outline.area == pytest.approx(mask.area, rel=0.03)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_masks_with_the_wobble_of_a_network_give_the_building_back(name: str) -> None:
    """A network's masks have round corners, and borders that are off by half a pixel here, root mean square."""
    rng = np.random.default_rng(0)
    truths = np.array([placed(name, rng.uniform(0.7, 1.6), rng.uniform(0, 90), rng.uniform(0, 300, 2)) for _ in range(100)])
    outlines = fitted(wobbly_masks(truths, rng, wobble=0.1))
    assert shapely.is_valid(outlines).all()
    right = [corners_of(outline) == corners_of(truth) for outline, truth in zip(outlines, truths, strict=True)]
    assert np.mean(right) >= 0.95
    assert share_right_angled(turns_of(outlines)) >= 0.97
    # At corners, which are round in the mask, they are further off.
    assert np.median([off_by(outline, truth) for outline, truth in zip(outlines, truths, strict=True)]) <= 1.5
    assert shapely.area(outlines).sum() == pytest.approx(shapely.area(truths).sum(), rel=0.02)
    shared = shapely.area(shapely.intersection(outlines, truths))
    assert (shared / (shapely.area(outlines) + shapely.area(truths) - shared)).mean() > 0.95


def test_areas_are_those_of_the_masks() -> None:
    rng = np.random.default_rng(1)
    truths = [placed(name, rng.uniform(0.3, 1.5), rng.uniform(0, 90), (0, 0)) for name in sorted(SHAPES) for _ in range(60)]
    masks = wobbly_masks(np.array(truths), rng)
    masks = masks[~shapely.is_missing(masks)]
    outlines = fitted(masks)
    there = ~shapely.is_missing(outlines)
    assert there.mean() > 0.9
    assert shapely.area(outlines[there]).sum() == pytest.approx(shapely.area(masks[there]).sum(), rel=0.005)


@pytest.mark.slow
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), shift=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_an_outline_depends_on_neither_its_place_nor_its_company(seed: int, shift: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    truths = [placed(rng.choice(sorted(SHAPES)), rng.uniform(0.3, 1.2), rng.uniform(0, 90), (0, 0)) for _ in range(12)]
    masks = wobbly_masks(np.array(truths), rng)
    masks = masks[~shapely.is_missing(masks)]
    together = fitted(masks)
    order = rng.permutation(len(masks))
    moved = fitted(shapely.transform(masks[order], lambda points: points + shift))
    for index, other in zip(order, moved, strict=True):
        if together[index] is None:
            assert other is None
        else:
            back = shapely.transform(other, lambda points: points - shift)
            assert shapely.equals_exact(back, together[index], tolerance=2e-6)
    (alone,) = fitted(masks[:1])
    assert (alone is None and together[0] is None) or shapely.equals_exact(alone, together[0], tolerance=1e-9)


@pytest.mark.parametrize("angle", [0, 13, 40, 77])
def test_an_oblique_wing_stays_oblique(angle: float) -> None:
    wing = affinity.rotate(shapely.box(60, 0, 130, 25), 35, origin=(60, 0))
    truth = affinity.rotate(shapely.union(shapely.box(0, 0, 70, 30), wing), angle)
    (outline,) = fitted([exact_mask(truth)])
    assert off_by(outline, truth) <= 3
    assert corners_of(outline) == pytest.approx(corners_of(truth), abs=1)


@pytest.mark.parametrize("angle", [0, 13, 40, 77])
@pytest.mark.parametrize("shear", [0.3, 0.6])
def test_a_skewed_building_keeps_its_two_directions(shear: float, angle: float) -> None:
    truth = affinity.rotate(affinity.affine_transform(SHAPES["L"], [1, shear, 0, 1, 0, 0]), angle)
    (outline,) = fitted([exact_mask(truth)])
    assert corners_of(outline) == 6
    assert off_by(outline, truth) <= 1
    np.testing.assert_allclose(np.abs(turns_of([outline])[0] - 90), math.degrees(math.atan(shear)), atol=1.5)


@pytest.mark.parametrize("radius", [10, 15, 25, 40])
def test_what_is_round_is_left_to_others(radius: float) -> None:
    assert fitted([exact_mask(shapely.Point(100.3, 90.6).buffer(radius, 64))])[0] is None


def test_a_large_complex_keeps_its_form() -> None:
    rng = np.random.default_rng(1)
    lower = rng.uniform(0, 400, (40, 2))
    upper = lower + rng.uniform(60, 150, (40, 2))
    complex_ = max(shapely.get_parts(shapely.union_all(shapely.box(*lower.T, *upper.T))), key=shapely.area)
    truth = affinity.rotate(complex_, 33)
    (outline,) = fitted(wobbly_masks(np.array([truth]), rng, wobble=0.1))
    assert outline.is_valid
    assert share_right_angled(turns_of([outline])) == 1
    assert shapely.intersection(outline, truth).area / shapely.union(outline, truth).area > 0.98


def test_a_slit_and_a_speck_in_a_roof_are_left_out_and_a_shaft_is_not() -> None:
    roof = shapely.box(0, 0, 60, 40)
    for hole, holes in ((shapely.box(10, 10, 11, 30), 0), (shapely.box(10, 10, 11, 11), 0), (shapely.box(10, 10, 16, 16), 1)):
        (outline,) = fitted([roof.difference(hole)])
        assert len(outline.interiors) == holes
        assert outline.equals(roof.difference(hole) if holes else roof)


def test_what_turns_too_often_has_no_fit_and_others_still_have() -> None:
    comb = shapely.union_all(
        [shapely.box(0, 0, 4 * MOST_TURNS, 2), *(shapely.box(4 * k, 0, 4 * k + 2, 9) for k in range(MOST_TURNS))]
    )
    nothing, box = fitted([comb, shapely.box(0, 0, 30, 20)])
    assert nothing is None
    assert box.equals(shapely.box(0, 0, 30, 20))
    assert len(fitted([])) == 0


@pytest.mark.slow
def test_hundreds_take_little_time_each() -> None:
    """Half a millisecond each is what a detection can spare; ten times that here, for machines that are busy."""
    rng = np.random.default_rng(2)
    truths = [placed(rng.choice(sorted(SHAPES)), rng.uniform(0.4, 1.2), rng.uniform(0, 90), (0, 0)) for _ in range(400)]
    masks = wobbly_masks(np.array(truths), rng)
    started = time.process_time()
    fitted(masks[~shapely.is_missing(masks)])
    assert (time.process_time() - started) / len(masks) < 5e-3
