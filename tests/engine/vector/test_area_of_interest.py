"""Which part of a raster is worked on, and which footprints belong to it."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from engine.errors import ArgumentError, VectorError
from engine.raster.tile_grid import TileGrid
from engine.vector import polygon_file
from engine.vector.area_of_interest import AreaOfInterest
from engine.vector.polygon_file import read_layer


@dataclass
class Raster:
    """What an area needs to know of a raster."""

    crs: Any
    transform: Affine
    width: int = 200
    height: int = 100
    name: str = "town.tif"


UTM = Raster(CRS.from_epsg(32645), Affine(0.5, 0, 360_000, 0, -0.5, 3_050_000))
TURNED = Raster(CRS.from_epsg(32645), Affine(0.4, 0.3, 360_000, 0.3, -0.4, 3_050_000))
DATELINE = Raster(CRS.from_epsg(32660), Affine(100, 0, 600_000, 0, -100, 5_700_000), 2000, 1000)
DATELINE_DEGREES = Raster(CRS.from_epsg(4326), Affine(0.01, 0, 179.5, 0, -0.01, 0.5), 100, 100)
PICTURE = Raster(None, Affine(1, 0, 0, 0, -1, 0))


def on_map(raster: Raster, pixels: shapely.Geometry) -> shapely.Geometry:
    return TileGrid(raster.width, raster.height, tile_size=50, overlap=0, transform=raster.transform).to_map(pixels)


def write(path: Path, shapes: list[shapely.Geometry], crs: Any, **options: Any) -> Path:
    geopandas.GeoDataFrame(geometry=shapes, crs=crs).to_file(path, **options)
    return path


# From an extent


@pytest.mark.parametrize("raster", [UTM, PICTURE, DATELINE, DATELINE_DEGREES])
def test_an_extent_gives_its_pixels(raster: Raster) -> None:
    extent = shapely.bounds(on_map(raster, shapely.box(20, 30, 60, 90)))
    area = AreaOfInterest.from_extent(extent.tolist(), raster)
    assert area.window() == (20, 30, 60, 90)
    assert area.geometry.area == pytest.approx(40 * 60)


def test_an_extent_stays_upright_on_a_rotated_raster() -> None:
    left, bottom, right, top = shapely.bounds(on_map(TURNED, shapely.box(80, 40, 100, 60)))
    area = AreaOfInterest.from_extent((left, bottom, right, top), TURNED)
    assert area.geometry.area == pytest.approx((right - left) * (top - bottom) / 0.25)


def test_longitudes_of_the_other_turn_find_the_raster() -> None:
    area = AreaOfInterest.from_extent((-179.9, 0.1, -179.7, 0.3), DATELINE_DEGREES)
    assert area.window() == (60, 20, 80, 40)


@pytest.mark.parametrize(
    ("extent", "named"),
    [
        ((0, 0, 10, 10), r"extent lies beside town\.tif: it spans 0 0 10 10, the raster 360000 3049950 360100 3050000"),
        ((10, 0, 0, 10), "encloses nothing"),
        ((0, 0, 10, float("nan")), "extent is 0 0 10 nan"),
        ((0, 0, 10), "Give four numbers"),
        ((359_990, 3_049_950, 360_000, 3_050_000), "lies beside"),  # shares an edge, and no ground
    ],
)
def test_extents_that_cannot_be_meant_are_refused(extent: tuple[float, ...], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        AreaOfInterest.from_extent(extent, UTM)


# From a file


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.fgb", "a.shp", "ein Gebiet é.gpkg"])
def test_polygons_of_any_format_are_read(tmp_path: Path, name: str) -> None:
    shape = on_map(UTM, shapely.box(20, 30, 60, 90))
    crs = "EPSG:4326" if name.endswith("geojson") else "EPSG:32645"
    path = write(tmp_path / name, [geopandas.GeoSeries([shape], crs="EPSG:32645").to_crs(crs)[0]], crs)
    area = AreaOfInterest.from_vector(path, UTM)
    assert area.geometry.area == pytest.approx(40 * 60, rel=1e-3)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32644", "EPSG:6207", "ESRI:54009"])
@pytest.mark.parametrize("raster", [UTM, TURNED])
def test_an_area_in_any_crs_lands_on_its_pixels(tmp_path: Path, raster: Raster, crs: str) -> None:
    pixels = shapely.Polygon([(20, 10), (150, 30), (120, 80), (40, 90)])
    path = tmp_path / "a.gpkg"
    dense = geopandas.GeoSeries([on_map(raster, pixels.segmentize(0.5))], crs="EPSG:32645").to_crs(crs)
    write(path, list(dense), crs)
    area = AreaOfInterest.from_vector(path, raster)
    assert shapely.symmetric_difference(area.geometry, pixels).area < 0.01 * pixels.area


def test_long_edges_bend_as_their_projection_bends_them(tmp_path: Path) -> None:
    north = Raster(CRS.from_epsg(3995), Affine(1000, 0, -3_000_000, 0, -1000, 3_000_000), 6000, 6000)  # polar
    path = write(tmp_path / "a.geojson", [shapely.box(-179, 70, 179, 80)], "EPSG:4326")
    area = AreaOfInterest.from_vector(path, north)
    ring = np.hypot(*(shapely.get_coordinates(area.geometry) - 3000).T)
    on_parallels = np.isclose(ring, ring.max(), rtol=2e-3) | np.isclose(ring, ring.min(), rtol=2e-3)
    assert on_parallels.mean() > 0.9
    assert ring.max() / ring.min() == pytest.approx(2.0, abs=0.05)


def test_the_whole_world_is_the_whole_raster(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", [shapely.box(-180, -90, 180, 90)], "EPSG:4326")
    for raster in (UTM, DATELINE, DATELINE_DEGREES):
        assert AreaOfInterest.from_vector(path, raster).geometry.area == pytest.approx(raster.width * raster.height)


@pytest.mark.parametrize("raster", [DATELINE, DATELINE_DEGREES])
def test_an_area_on_both_sides_of_the_dateline(tmp_path: Path, raster: Raster) -> None:
    halves = [shapely.box(-180, -80, -175, 80), shapely.box(175, -80, 180, 80)]
    path = write(tmp_path / "a.geojson", halves, "EPSG:4326")
    assert AreaOfInterest.from_vector(path, raster).geometry.area == pytest.approx(raster.width * raster.height, rel=1e-6)
    path = write(tmp_path / "b.geojson", halves[:1], "EPSG:4326")
    share = AreaOfInterest.from_vector(path, raster).geometry.area / (raster.width * raster.height)
    assert 0.3 < share < 0.7


def test_an_area_without_crs_is_taken_for_the_rasters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pyogrio's, that there is no CRS
        path = write(tmp_path / "a.gpkg", [on_map(UTM, shapely.box(20, 30, 60, 90))], None)
    with caplog.at_level(logging.INFO, logger="engine"):
        assert AreaOfInterest.from_vector(path, UTM).window() == (20, 30, 60, 90)
    assert "no CRS" in caplog.text


def test_a_raster_without_crs_takes_the_areas_coordinates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.box(20, -90, 60, -30)], "EPSG:32645")
    assert AreaOfInterest.from_vector(path, PICTURE).window() == (20, 30, 60, 90)
    assert "no CRS" in caplog.text


def test_polygons_that_cross_themselves_are_mended_and_overlaps_count_once(tmp_path: Path) -> None:
    bow = shapely.Polygon([(0, 0), (40, 40), (40, 0), (0, 40)])
    path = write(tmp_path / "a.gpkg", [on_map(UTM, bow), on_map(UTM, shapely.box(0, 0, 40, 20))], UTM.crs)
    assert AreaOfInterest.from_vector(path, UTM).geometry.area == pytest.approx(40 * 20 + 20 * 20)


def test_points_and_lines_beside_polygons_do_not_disturb(tmp_path: Path) -> None:
    mixed = shapely.GeometryCollection([shapely.Point(0, 0), shapely.box(360_010, 3_049_980, 360_020, 3_049_990)])
    path = write(tmp_path / "a.gpkg", [mixed, shapely.Point(360_000, 3_050_000)], UTM.crs)
    assert AreaOfInterest.from_vector(path, UTM).window() == (20, 20, 40, 40)


def test_one_of_several_layers_has_to_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [on_map(UTM, shapely.box(0, 0, 50, 50))], UTM.crs, layer="west")
    write(path, [on_map(UTM, shapely.box(50, 0, 90, 50))], UTM.crs, layer="east")
    with pytest.raises(VectorError, match=r"2 layers: west, east.*layername=west"):
        AreaOfInterest.from_vector(path, UTM)
    assert AreaOfInterest.from_vector(f"{path}|layername=east", UTM).window() == (50, 0, 90, 50)
    with pytest.raises(VectorError, match="north"):
        AreaOfInterest.from_vector(f"{path}|layername=north", UTM)


@pytest.mark.parametrize("name", ["a;b", "a!b", "a\nb", "!", "50 % #1?", "a.zip!b"])
@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson"])
def test_a_name_that_looks_like_an_address_is_only_a_name(tmp_path: Path, name: str, suffix: str) -> None:
    source = write(tmp_path / f"plain{suffix}", [on_map(UTM, shapely.box(50, 0, 90, 50))], UTM.crs)
    for part in tmp_path.glob("plain.*"):
        part.rename(tmp_path / f"{name}{part.suffix}")
    assert not source.exists()
    assert AreaOfInterest.from_vector(tmp_path / f"{name}{suffix}", UTM).window() == (50, 0, 90, 50)


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n)"


@pytest.mark.parametrize(("body", "ends"), [
    ("select fid, geom from area", True),
    (f"{ENDLESS} select n.i as fid, geom from area, n", False),
    (f"{ENDLESS} select n.i as fid, geom from area, n where n.i < 0", False),
])  # fmt: skip
def test_a_view_that_does_not_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, ends: bool) -> None:
    monkeypatch.setattr(polygon_file, "_VIEW_SECONDS", 1)
    path = write(tmp_path / "a.gpkg", [on_map(UTM, shapely.box(50, 0, 90, 50))], UTM.crs, layer="area")
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"create view seen as {body}")
        for table, column in (("gpkg_contents", "table_name"), ("gpkg_geometry_columns", "table_name")):
            columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
            values = ", ".join("'seen'" if name in (column, "identifier") else name for name in columns)
            database.execute(f"insert into {table} select {values} from {table} where {column} = 'area'")
        database.commit()
    if ends:
        assert AreaOfInterest.from_vector(f"{path}|layername=seen", UTM).window() == (50, 0, 90, 50)
    else:
        with pytest.raises(VectorError, match="is a view, seen, that did not end"):
            AreaOfInterest.from_vector(f"{path}|layername=seen", UTM)


@pytest.mark.parametrize("name", ["a.shp", "a.gpkg", "a.fgb", "a.geojson"])
def test_a_broken_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    write(tmp_path / name, [on_map(UTM, shapely.box(n, 0, n + 0.5, 50)) for n in range(20)], UTM.crs)
    sound = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(60):
        for path, content in sound.items():
            path.write_bytes(content)
        path = list(sound)[rng.integers(len(sound))]
        content = bytearray(sound[path])
        if rng.random() < 0.5:
            content = content[: rng.integers(len(content))]
        else:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        with suppress(VectorError):
            read_layer(tmp_path / name, fields=lambda names: names)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.gpkg")
    with pytest.raises(VectorError, match="pipe or a device"):
        AreaOfInterest.from_vector(tmp_path / "a.gpkg", UTM)


def test_a_layer_of_points_beside_the_polygons_needs_no_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.Point(0, 0)], UTM.crs, layer="points")
    write(path, [on_map(UTM, shapely.box(50, 0, 90, 50))], UTM.crs, layer="area")
    assert AreaOfInterest.from_vector(path, UTM).window() == (50, 0, 90, 50)


@pytest.mark.parametrize("crs", ["EPSG:32645", "EPSG:4326", "EPSG:2263"])
def test_an_area_beside_the_raster_is_refused_with_both_extents(tmp_path: Path, crs: str) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.box(1, 2, 3, 4)], crs)
    with pytest.raises(VectorError, match=r"lies beside town\.tif: it spans 1 2 3 4, the raster 360000 3049950"):
        AreaOfInterest.from_vector(path, UTM)


def test_files_without_an_area_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gpkg").write_text("no vector file")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    write(tmp_path / "points.gpkg", [shapely.Point(360_010, 3_049_990)], UTM.crs)
    geopandas.GeoDataFrame(geometry=[], crs=UTM.crs).to_file(tmp_path / "empty.gpkg")
    for name, reason in {
        "nowhere.gpkg": "does not exist",
        "text.gpkg": "cannot be read",
        "table.csv": "no polygons",
        "points.gpkg": "no polygons, in 1 features",
        "empty.gpkg": "no polygons, in 0 features",
    }.items():
        with pytest.raises(VectorError, match=reason) as caught:
            AreaOfInterest.from_vector(tmp_path / name, UTM)
        assert name in str(caught.value) and "\n" not in str(caught.value)


# What it decides


boxes = st.builds(
    lambda col, row, width, height: shapely.box(col, row, col + width, row + height),
    st.integers(0, 180), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60),
)  # fmt: skip


def area_of(shape: shapely.Geometry) -> AreaOfInterest:
    return AreaOfInterest(shape, width=200, height=100)


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, min_size=1, max_size=30))
def test_a_footprint_belongs_where_more_than_half_of_it_lies(area: list[Any], footprints: list[Any]) -> None:
    union = shapely.intersection(shapely.union_all(area), shapely.box(0, 0, 200, 100))
    shares = [shapely.intersection(union, footprint).area / footprint.area for footprint in footprints]
    assert area_of(union).keeps(footprints).tolist() == [share > 0.5 for share in shares]


@given(st.lists(boxes, min_size=1, max_size=12), st.lists(boxes, min_size=1, max_size=30), st.integers(0, 30))
def test_polygons_that_overlap_are_one_area(area: list[Any], shapes: list[Any], margin: int) -> None:
    union, apart = area_of(shapely.union_all(area)), AreaOfInterest(np.array(area), width=200, height=100)
    assert apart.keeps(shapes).tolist() == union.keeps(shapes).tolist()
    assert apart.window(margin) == union.window(margin)
    for tile in TileGrid(200, 100, tile_size=30, overlap=5):
        assert apart.touches(tile, margin=margin) == union.touches(tile, margin=margin)


@pytest.mark.parametrize("crs", ["EPSG:32645", "EPSG:4326"])
def test_a_cadastre_takes_no_longer_than_it_takes_to_read(tmp_path: Path, crs: str) -> None:
    """Against reading the file, so that a busy machine is slow at both."""
    side = 220
    col, row = (axis.ravel() for axis in np.meshgrid(np.arange(side), np.arange(side)))
    parcels = shapely.box(360_000 + col * 0.4, 3_049_960 + row * 0.15, 360_000.3 + col * 0.4, 3_049_960.1 + row * 0.15)
    path = write(tmp_path / "cadastre.fgb", geopandas.GeoSeries(parcels, crs="EPSG:32645").to_crs(crs), crs)

    started = time.process_time()
    geopandas.read_file(path)
    reading = time.process_time() - started
    started = time.process_time()
    area = AreaOfInterest.from_vector(path, UTM)
    assert len(area.polygons) > 40_000
    assert all(area.touches(tile, margin=8) for tile in TileGrid(200, 80, tile_size=50, overlap=0))
    assert area.keeps(shapely.box([20, 20], [20, 20], [24, 24], [20.2, 20.2])).shape == (2,)
    assert time.process_time() - started < 5 * reading + 4  # each with each would be 2.3 billion comparisons


@given(st.integers(1, 199), st.lists(boxes, min_size=1, max_size=30))
def test_areas_that_share_a_border_never_share_a_footprint(border: int, footprints: list[Any]) -> None:
    left, right = area_of(shapely.box(0, 0, border, 100)), area_of(shapely.box(border, 0, 200, 100))
    assert not (left.keeps(footprints) & right.keeps(footprints)).any()


@given(boxes, st.integers(0, 20), st.integers(0, 80))
def test_the_window_holds_the_area_and_fills_a_tile_where_it_can(shape: Any, margin: int, smallest: int) -> None:
    area = area_of(shape)
    left, top, right, bottom = area.window(margin, smallest=smallest)
    assert 0 <= left <= max(0, shape.bounds[0] - margin) and top >= 0
    assert right >= min(200, shape.bounds[2] + margin) and bottom >= min(100, shape.bounds[3] + margin)
    assert top <= max(0, shape.bounds[1] - margin)
    assert min(smallest, 200) <= right - left <= 200 and min(smallest, 100) <= bottom - top <= 100
    assert right <= 200 and bottom <= 100


def test_tiles_within_the_margin_are_touched() -> None:
    area = area_of(shapely.box(60, 10, 70, 20))
    tiles = TileGrid(200, 100, tile_size=50, overlap=0)
    assert [tile.index for tile in tiles if area.touches(tile)] == [1]
    assert [tile.index for tile in tiles if area.touches(tile, margin=10)] == [0, 1]
    assert [tile.index for tile in tiles if area.touches(tile, margin=32)] == [0, 1, 2, 4, 5]


def test_no_footprints_are_no_question() -> None:
    assert area_of(shapely.box(0, 0, 9, 9)).keeps([]).tolist() == []


@pytest.mark.slow
def test_any_number_of_threads_may_ask_at_once() -> None:
    """In a process of its own: what went wrong here was a crash."""
    program = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np, shapely
from engine.vector.area_of_interest import AreaOfInterest
from engine.raster.tile_grid import TileGrid

grid = TileGrid(4000, 4000, tile_size=64, overlap=16)
turns = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
star = shapely.Polygon(np.stack([np.cos(turns), np.sin(turns)], 1) * (1500 + 400 * np.sin(37 * turns))[:, None] + 2000)
houses = [shapely.box(*tile.bounds) for tile in grid]
answers = set()
for _ in range(12):
    area = AreaOfInterest(star, width=4000, height=4000)
    with ThreadPoolExecutor(8) as threads:
        seen = [threads.submit(lambda n=n: [area.touches(tile, margin=16) for tile in grid[n::40]]) for n in range(40)]
        kept = [threads.submit(area.keeps, houses[n::40]) for n in range(40)]
        answers.add((sum(sum(each.result()) for each in seen), sum(each.result().sum() for each in kept)))
assert len(answers) == 1, answers
"""
    project = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class TestPixelsInside:
    TRIANGLE = np.array([[(2.13, 1.07), (37.31, 6.19), (9.43, 28.02), (2.13, 1.07)]], float)

    @pytest.mark.parametrize("bounds", [(0, 0, 40, 30), (5, 3, 20, 11), (30, 20, 40, 30)])
    def test_those_whose_centre_is(self, bounds):
        polygon = shapely.polygons(self.TRIANGLE)[0]
        area = AreaOfInterest(np.array([polygon, shapely.box(30, 22, 33, 29)]), width=40, height=30)
        col0, row0, col1, row1 = bounds
        cols, rows = np.meshgrid(np.arange(col0, col1) + 0.5, np.arange(row0, row1) + 0.5)
        expected = shapely.contains_xy(area.geometry, cols, rows)
        assert np.array_equal(area.pixels_inside(bounds), expected)

    def test_in_pixels_of_another_size(self):
        area = AreaOfInterest(shapely.box(4, 6, 10, 12), width=40, height=30)
        fine = area.pixels_inside((0, 0, 80, 60), pixel_size=(0.5, 0.5))
        assert np.argwhere(fine).min(0).tolist() == [12, 8] and fine.sum() == 12 * 12
        assert not area.pixels_inside((50, 40, 80, 60), pixel_size=(0.5, 0.5)).any()
