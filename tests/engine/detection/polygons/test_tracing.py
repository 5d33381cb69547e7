"""Masks become polygons along exact pixel borders."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage

from engine.detection.merging.tile_instances import Building
from engine.detection.polygons import tracing
from engine.detection.polygons.tracing import polygons_of
from tests.engine.detection.label_towns import TOWNS


def building(rows: list[str], col: int = 0, row: int = 0) -> Building:
    return Building(col, row, np.array([[pixel == "#" for pixel in line] for line in rows]), 0.9, 0)


def buildings_of(labels: np.ndarray) -> list[Building]:
    return [
        Building(box[1].start, box[0].start, labels[box] == number, 0.9, 0)
        for number, box in enumerate(ndimage.find_objects(labels), 1)
        if box is not None
    ]


@settings(max_examples=60)
@given(
    town=st.sampled_from([*sorted(TOWNS), "static"]),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_polygons_cover_exactly_the_pixels(town: str, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if town == "static":
        labels = (rng.random((height, width)) < rng.uniform(0.1, 0.9)) * rng.integers(1, 4, (height, width))
    else:
        labels = TOWNS[town](rng, height, width)
    buildings = buildings_of(labels)
    traced = polygons_of(buildings)
    geometries = [polygon for polygons in traced for polygon in polygons]
    assert shapely.is_valid(geometries).all()
    assert shapely.area(geometries).sum() == np.count_nonzero(labels)
    for b, polygons in zip(buildings, traced, strict=True):
        assert len(polygons) == ndimage.label(b.mask)[1]
        back = rasterize([(p, 1) for p in polygons], out_shape=labels.shape)
        shown = np.zeros(labels.shape, dtype=bool)
        shown[b.row : b.row + b.mask.shape[0], b.col : b.col + b.mask.shape[1]] = b.mask
        assert (back == shown).all()


def test_no_vertex_lies_on_a_straight_edge() -> None:
    labels = TOWNS["noise"](np.random.default_rng(3), 120, 120)
    for polygon in (p for polygons in polygons_of(buildings_of(labels)) for p in polygons):
        for ring in (polygon.exterior, *polygon.interiors):
            steps = np.diff(shapely.get_coordinates(ring), axis=0)
            assert (np.count_nonzero(steps, axis=1) == 1).all()
            horizontal = steps[:, 0] != 0
            assert (horizontal != np.roll(horizontal, 1)).all()
            assert (steps == steps.round()).all()


def test_a_courtyard_is_a_hole() -> None:
    ((polygon,),) = polygons_of([building(["#####", "#...#", "#####"], col=7, row=-2)])
    assert polygon.bounds == (7, -2, 12, 1)
    (hole,) = polygon.interiors
    assert hole.bounds == (8, -1, 11, 0)


def test_parts_that_meet_at_a_corner_are_polygons_of_their_own() -> None:
    (polygons,) = polygons_of([building(["##..", "##..", "..#."])])
    assert [polygon.area for polygon in polygons] == [4, 1]


def test_a_hole_may_touch_the_shell_at_a_corner() -> None:
    ((polygon,),) = polygons_of([building(["###", "#.#", "##."])])
    assert polygon.is_valid
    assert (polygon.area, len(polygon.interiors)) == (7, 1)


def test_nothing_gives_nothing() -> None:
    assert polygons_of([]) == []
    assert polygons_of([building(["..", ".."]), building(["#"])])[0] == []


@pytest.mark.parametrize("pixels", [1, 50, 5000])
def test_the_size_of_a_canvas_changes_nothing(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    buildings = buildings_of(TOWNS["shapes"](np.random.default_rng(1), 100, 140))
    expected = polygons_of(buildings)
    monkeypatch.setattr(tracing, "CANVAS_PIXELS", pixels)
    monkeypatch.setattr(tracing, "CANVAS_WIDTH", 30)
    again = polygons_of(buildings)
    assert [[p.normalize() for p in ps] for ps in again] == [[p.normalize() for p in ps] for ps in expected]
