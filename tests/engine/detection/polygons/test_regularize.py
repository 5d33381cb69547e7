"""A layer drawn anew: whose fields, order and place stay, and whose outlines are those of a detection."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer
from shapely import affinity

from engine.detection.polygons.outlines import outlines_of
from engine.detection.polygons.regularize import regularize
from engine.errors import ArgumentError, CancelledError, OutputError, VectorError

CORNER = (500_000.0, 5_200_000.0)


def house(angle: float = 30.0, *, x: float = 0.0, y: float = 0.0) -> shapely.Polygon:
    """Return an L of 12 by 9 metres."""
    outline = shapely.Polygon([(0, 0), (12, 0), (12, 5), (7, 5), (7, 9), (0, 9)])
    return affinity.translate(affinity.rotate(outline, angle, origin=(0, 0)), CORNER[0] + x, CORNER[1] + y)


def ragged(polygon: shapely.Polygon, *, seed: int, by: float = 0.12) -> shapely.Polygon:
    """Return an outline with a vertex every half metre, each a little beside the wall."""
    points = shapely.get_coordinates(shapely.segmentize(polygon, 0.5).exterior)[:-1]
    return shapely.Polygon(points + np.random.default_rng(seed).normal(0, by, points.shape))


def write(path: Path, geometries: list, *, crs: object = 32633, **fields: list) -> Path:
    geopandas.GeoDataFrame(fields, geometry=geometries, crs=crs).to_file(path)
    return path


def shared(one: shapely.Geometry, other: shapely.Geometry) -> float:
    return shapely.area(shapely.intersection(one, other)) / shapely.area(shapely.union(one, other))


def turns(polygon: shapely.Polygon) -> np.ndarray:
    """Return by how many degrees an outline turns at each corner."""
    points = shapely.get_coordinates(polygon.exterior)[:-1]
    steps = np.roll(points, -1, axis=0) - points
    angles = np.degrees(np.arctan2(steps[:, 1], steps[:, 0]))
    return np.abs((np.roll(angles, -1) - angles + 180) % 360 - 180)


@pytest.mark.parametrize("crs", [32633, 4326, 3857, 2236, None])
def test_ragged_houses_become_the_houses_in_any_crs(tmp_path: Path, crs: int | None) -> None:
    houses = [house(angle, x=40 * place) for place, angle in enumerate((0, 17, 30, 71))]
    drawn = [ragged(each, seed=seed) for seed, each in enumerate(houses)]
    layer = geopandas.GeoDataFrame({"name": list("abcd")}, geometry=drawn, crs=None if crs is None else 32633)
    (layer if crs is None else layer.to_crs(crs)).to_file(tmp_path / "ragged.gpkg")
    result = regularize(tmp_path / "ragged.gpkg", tmp_path / "regular.gpkg", detail=0.3)
    found = geopandas.read_file(tmp_path / "regular.gpkg")
    assert found["name"].tolist() == list("abcd") and (crs is None or CRS(found.crs) == CRS(crs))
    assert (result.features, result.redrawn, result.kept, result.corners_after) == (4, 4, 0, 24)
    on_ground = found.geometry if crs is None else found.geometry.to_crs(32633)
    for polygon, true in zip(on_ground, houses, strict=True):
        assert shared(polygon, true) > 0.97
        assert turns(polygon) == pytest.approx(np.full(6, 90.0), abs=0.2)
        assert shapely.distance(polygon.centroid, true.centroid) < 0.05


def test_an_outline_along_pixels_becomes_that_of_a_detection(tmp_path: Path) -> None:
    """With the size of a pixel as the detail, in units that are metres, it is the outline of a detection."""
    pixels = [shapely.box(col, row, col + 1, row + 1) for row in range(40) for col in range(60)
              if abs((col - 30) * math.cos(0.4) + (row - 20) * math.sin(0.4)) < 14
              and abs((row - 20) * math.cos(0.4) - (col - 30) * math.sin(0.4)) < 9]  # fmt: skip
    mask = shapely.union_all(pixels)
    write(tmp_path / "raw.gpkg", [affinity.scale(mask, 0.25, 0.25, origin=(0, 0))], crs=None)
    for outline in ("regular", "simplified"):
        regularize(tmp_path / "raw.gpkg", tmp_path / "out.gpkg", outline=outline, detail=0.25)
        found = geopandas.read_file(tmp_path / "out.gpkg").geometry[0]
        expected = affinity.scale(outlines_of([mask], kind=outline)[0], 0.25, 0.25, origin=(0, 0))
        assert shapely.hausdorff_distance(found.exterior, expected.exterior) < 1e-6


def test_less_detail_is_fewer_corners_and_none_is_lost(tmp_path: Path) -> None:
    houses = [ragged(house(13 * number, x=30 * number), seed=number) for number in range(30)]
    write(tmp_path / "in.gpkg", houses)
    corners = [
        regularize(tmp_path / "in.gpkg", tmp_path / "out.gpkg", detail=detail).corners_after for detail in (0.15, 0.4, 1.5)
    ]
    assert corners[0] >= corners[1] > corners[2] >= 4 * 30


def test_features_of_any_kind_stay_in_their_places(tmp_path: Path) -> None:
    several = shapely.multipolygons([ragged(house(), seed=1), ragged(house(x=40), seed=2)])
    crossing = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    features = [ragged(house(), seed=0), None, several, shapely.Point(1, 2), crossing, shapely.Polygon()]
    write(tmp_path / "in.gpkg", features, number=list(range(6)))
    result = regularize(tmp_path / "in.gpkg", tmp_path / "out.gpkg")
    found = geopandas.read_file(tmp_path / "out.gpkg")
    assert found["number"].tolist() == list(range(6)) and result.features == 6
    shapes = found.geometry.to_numpy()
    assert shapes[1] is None and shapes[3] == shapely.Point(1, 2)
    assert shapes[2].geom_type == "MultiPolygon" and shapely.get_num_coordinates(shapes[2]) == 14
    assert shapes[4].is_valid and shapes[4].area == pytest.approx(50, rel=0.1)


def test_what_no_simpler_outline_holds_is_kept_to_the_last_bit(tmp_path: Path) -> None:
    """A building of less than a few details has none that shares enough with it."""
    small = shapely.Polygon([(0, 0), (0.31, 0.02), (0.3, 0.28), (0.15, 0.1), (0.02, 0.3)])
    write(tmp_path / "in.gpkg", [affinity.translate(small, *CORNER)])
    result = regularize(tmp_path / "in.gpkg", tmp_path / "out.gpkg", outline="simplified", detail=1.0)
    before, after = (geopandas.read_file(tmp_path / name).geometry[0] for name in ("in.gpkg", "out.gpkg"))
    assert (result.redrawn, result.kept) == (0, 1) and before.wkb == after.wkb


def test_each_polygon_is_drawn_by_itself(tmp_path: Path) -> None:
    houses = [ragged(house(7 * number, x=30 * number), seed=number) for number in range(20)]
    write(tmp_path / "all.gpkg", houses)
    write(tmp_path / "some.gpkg", houses[::-3])
    regularize(tmp_path / "all.gpkg", tmp_path / "a.gpkg")
    regularize(tmp_path / "some.gpkg", tmp_path / "s.gpkg")
    whole = geopandas.read_file(tmp_path / "a.gpkg").geometry.tolist()
    part = geopandas.read_file(tmp_path / "s.gpkg").geometry.tolist()
    assert shapely.equals_exact(whole[::-3], part, tolerance=1e-6).all()


def test_a_cancelled_run_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "in.gpkg", [house(x=30 * number) for number in range(3000)])
    cancel, seen = threading.Event(), []

    def stop(progress: object) -> None:
        seen.append(progress)
        cancel.set()

    with pytest.raises(CancelledError, match="nothing was written"):
        regularize(tmp_path / "in.gpkg", tmp_path / "out.gpkg", progress=stop, cancel=cancel)
    assert len(seen) == 1 and sorted(path.name for path in tmp_path.iterdir()) == ["in.gpkg"]


def test_nothing_is_lost_by_mistake(tmp_path: Path) -> None:
    source = write(tmp_path / "in.gpkg", [house()])
    with pytest.raises(ArgumentError, match="is read too"):
        regularize(source, source)
    geopandas.GeoDataFrame(geometry=[house()], crs=32633).to_file(tmp_path / "other.gpkg", layer="parcels")
    before = (tmp_path / "other.gpkg").read_bytes()
    with pytest.raises(OutputError, match="parcels"):
        regularize(source, tmp_path / "other.gpkg")
    assert (tmp_path / "other.gpkg").read_bytes() == before
    regularize(source, tmp_path / "other.gpkg", overwrite=True)
    assert geopandas.list_layers(tmp_path / "other.gpkg")["name"].tolist() == ["in"]


@pytest.mark.parametrize("detail", [0.0, -1.0, float("nan"), float("inf")])
def test_a_detail_is_a_length(tmp_path: Path, detail: float) -> None:
    with pytest.raises(ArgumentError, match="detail is"):
        regularize(write(tmp_path / "in.gpkg", [house()]), tmp_path / "out.gpkg", detail=detail)


def test_what_is_no_layer_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.gpkg").write_text("no layer")
    with pytest.raises(VectorError, match="cannot be read"):
        regularize(tmp_path / "a.gpkg", tmp_path / "out.gpkg")
    assert not (tmp_path / "out.gpkg").exists()


def test_a_layer_beyond_its_projection_is_kept(tmp_path: Path) -> None:
    far = affinity.translate(house(), 1e12, 0)
    assert not np.isfinite(Transformer.from_crs(32633, 4326).transform(*far.centroid.coords[0])).any()
    result = regularize(write(tmp_path / "in.gpkg", [far]), tmp_path / "out.gpkg")
    assert (result.redrawn, result.kept) == (0, 1)
