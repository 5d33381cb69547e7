"""How large a pixel is on the ground, in whatever coordinates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC

from engine.errors import RasterFitError
from engine.raster.georeference import Georeference, georeference_of, ground_size
from engine.raster.opening import open_dataset
from engine.raster.working_grid import choose_working_grid
from tests.engine.raster.raster_files import UTM, picture, write_raster

US_FOOT = 1200 / 3937


def north_up(pixel: float, x: float, y: float) -> Affine:
    return Affine(pixel, 0, x, 0, -pixel, y)


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        ("EPSG:32645", north_up(0.3, 360_000, 3_050_000), (0.3, 0.3)),
        ("EPSG:2263", north_up(1, 1_000_000, 200_000), (US_FOOT, US_FOOT)),  # New York, US survey feet
        ("EPSG:27700", north_up(0.25, 430_000, 433_000), (0.25, 0.25)),
        ("EPSG:4326", north_up(1e-5, 10, 0), (1.11319, 1.10574)),  # the equator
        ("EPSG:4326", north_up(1e-5, 10, 60), (0.55800, 1.11412)),
        (
            "EPSG:3857",
            north_up(0.6, 1_000_000, 8_399_738),
            (0.30076, 0.30025),
        ),  # 60 degrees north: a cos, N and M of the ellipsoid
        (None, north_up(0.5, 100, 100), (0.5, 0.5)),
    ],
)
def test_pixels_are_measured_on_the_ground(crs: str | None, transform: Affine, expected: tuple[float, float]) -> None:
    size = ground_size(CRS.from_string(crs) if crs else None, transform, 100, 100)
    assert size == pytest.approx(expected, rel=2e-4)


@given(st.floats(0, 360), st.floats(0.05, 2))
def test_rotation_changes_no_size(angle: float, pixel: float) -> None:
    transform = Affine.translation(360_000, 3_050_000)
    turned = [math.cos(math.radians(angle)) * pixel, math.sin(math.radians(angle)) * pixel]
    transform = Affine(turned[0], turned[1], 360_000, turned[1], -turned[0], 3_050_000)
    assert ground_size(CRS.from_string(UTM), transform, 500, 300) == pytest.approx((pixel, pixel), rel=1e-9)


def test_a_nominal_size_that_is_nearly_true_is_kept() -> None:
    assert ground_size(CRS.from_string(UTM), north_up(0.3, 360_000, 3_050_000), 10, 10) == pytest.approx((0.3, 0.3), abs=1e-12)


def test_lost_degrees_are_no_metres(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_raster(tmp_path / "a.tif", picture(), crs=None, transform=north_up(2.7e-6, 85.5, 27.6))
    with open_dataset(path) as dataset:
        assert georeference_of(dataset, name="a.tif").pixel_size is None
    assert "look like degrees" in caplog.text


def test_degrees_off_the_globe_have_no_size() -> None:
    assert ground_size(CRS.from_epsg(4326), north_up(1, 0, 360_000), 10, 10) is None


def test_a_plain_photo_lies_as_qgis_draws_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_raster(tmp_path / "photo.png", picture(), crs=None, transform=None, driver="PNG")
    with open_dataset(path) as dataset:
        place = georeference_of(dataset, name="photo.png")
    assert place == Georeference(None, Affine(1, 0, 0, 0, -1, 0), None)
    assert "no georeference" in caplog.text


def points_of(transform: Affine, places: list[tuple[int, int]]) -> list[GroundControlPoint]:
    a, b, c, d, e, f = transform[:6]
    return [GroundControlPoint(row, col, a * col + b * row + c, d * col + e * row + f) for col, row in places]


def test_ground_control_points_on_an_affine_need_no_warping(tmp_path: Path) -> None:
    turned = Affine(0.3, 0.1, 360_000, 0.1, -0.3, 3_050_000)
    path = write_raster(tmp_path / "a.tif", picture(), gcps=points_of(turned, [(0, 0), (50, 0), (0, 40), (50, 40)]))
    with open_dataset(path) as dataset:
        assert isinstance(dataset, rasterio.DatasetReader)
        place = georeference_of(dataset, name="a.tif")
    assert place.crs == CRS.from_string(UTM)
    np.testing.assert_allclose(place.transform[:6], turned[:6], atol=1e-9)


def test_ground_control_points_that_bend_are_warped_to_north_up(tmp_path: Path) -> None:
    points = points_of(Affine(0.3, 0.1, 360_000, 0.1, -0.3, 3_050_000), [(0, 0), (50, 0), (0, 40), (50, 40), (25, 20)])
    points[3].x += 3
    path = write_raster(tmp_path / "a.tif", picture() // 2 + 100, gcps=points)
    with open_dataset(path) as dataset:
        place = georeference_of(dataset, name="a.tif")
        mask = dataset.dataset_mask()
        assert place.crs == CRS.from_string(UTM)
        assert place.transform.b == place.transform.d == 0
        assert 0 < (mask > 0).mean() < 1  # the corners that the picture does not reach are known
        assert dataset.read(1)[mask > 0].min() > 0


@pytest.mark.parametrize(("unit", "metres"), [("foot", 0.3048), ("metre", 1.0), ("US survey foot", 1200 / 3937)])
def test_a_local_crs_has_the_size_that_its_unit_says(unit: str, metres: float) -> None:
    crs = CRS.from_wkt(f'LOCAL_CS["site",UNIT["{unit}",{metres}]]')
    assert ground_size(crs, Affine(2, 0, 0, 0, -2, 600), 600, 600) == pytest.approx((2 * metres, 2 * metres))


@pytest.mark.parametrize("code", [4978, 7842, 4936])
def test_a_geocentric_crs_is_no_map(tmp_path: Path, code: int) -> None:
    path = write_raster(tmp_path / "a.tif", picture(), crs=CRS.from_epsg(code))
    with open_dataset(path) as dataset, pytest.raises(RasterFitError, match="geocentric"):
        georeference_of(dataset, name="a.tif")


def test_rational_polynomials_alone_are_refused(tmp_path: Path) -> None:
    one = [1.0] + [0.0] * 19
    rpc = RPC(
        height_off=0, height_scale=1,
        lat_off=27, lat_scale=1, line_off=20, line_scale=20, line_num_coeff=one, line_den_coeff=one,
        long_off=85, long_scale=1, samp_off=25, samp_scale=25, samp_num_coeff=one, samp_den_coeff=one,
    )  # fmt: skip
    path = write_raster(tmp_path / "a.tif", picture(), crs=None, transform=None, rpcs=rpc)
    with open_dataset(path) as dataset, pytest.raises(RasterFitError, match="gdalwarp -rpc"):
        georeference_of(dataset, name="a.tif")


def test_pixels_without_area_are_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", picture(), transform=Affine(0.3, 0.3, 0, 0.3, 0.3, 0))
    with open_dataset(path) as dataset, pytest.raises(RasterFitError, match="no area"):
        georeference_of(dataset, name="a.tif")


def place_of(pixel_size: tuple[float, float] | None) -> Georeference:
    return Georeference(CRS.from_string(UTM), Affine(0.3, 0.1, 360_000, 0.1, -0.3, 3_050_000), pixel_size)


@pytest.mark.parametrize("pixel_size", [(0.3, 0.3), (0.286, 0.314), None])
def test_pixels_near_the_wanted_size_are_the_working_grid(pixel_size: tuple[float, float] | None) -> None:
    grid = choose_working_grid(place_of(pixel_size), 100, 80, gsd=0.3, name="a")
    assert (grid.width, grid.height, grid.is_native) == (100, 80, True)
    assert grid.transform == place_of(None).transform


def test_without_a_wanted_size_pixels_of_any_shape_stay() -> None:
    grid = choose_working_grid(place_of((0.1, 0.9)), 100, 80, gsd=None, name="a")
    assert (grid.width, grid.height, grid.is_native, grid.pixel_size) == (100, 80, True, (0.1, 0.9))


@given(st.integers(100, 3000), st.integers(100, 3000), st.floats(0.05, 2), st.floats(0.05, 2))
def test_a_working_grid_covers_the_same_ground_with_square_pixels(width: int, height: int, x: float, y: float) -> None:
    grid = choose_working_grid(place_of((x, y)), width, height, gsd=0.3, name="a")
    a, b, c, d, e, f = place_of(None).transform[:6]
    corner = (a * width + b * height + c, d * width + e * height + f)
    a, b, c, d, e, f = grid.transform[:6]
    assert (a * grid.width + b * grid.height + c, d * grid.width + e * grid.height + f) == pytest.approx(corner, abs=1e-6)
    if not grid.is_native:
        assert grid.pixel_size == pytest.approx((0.3, 0.3), rel=0.04)  # to a whole number of pixels


def test_a_raster_too_coarse_for_buildings_is_refused_with_the_way_out() -> None:
    with pytest.raises(RasterFitError, match=r"--gsd 3\."):
        choose_working_grid(place_of((3.0, 3.0)), 100, 80, gsd=0.3, name="a")
