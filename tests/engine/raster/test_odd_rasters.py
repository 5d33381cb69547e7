"""What users really open: each file gives the right pixels, or one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.windows import Window

from engine.errors import RasterError, RasterFitError
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from tests.engine.raster.raster_files import whole


@pytest.fixture(scope="module")
def folder(project: Path) -> Path:
    folder = project.parent / "shared" / "data" / "odd_rasters"
    if not folder.is_dir():
        pytest.skip("../shared/data/odd_rasters is not here")
    return folder


def seen(path: Path, **options: object) -> tuple[RasterSource, np.ndarray, np.ndarray]:
    with RasterSource.open(path, band_count=3, **options) as source:
        pixels, valid = whole(source)
    assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 255
    return source, pixels, valid


def test_16_bit_degrees_without_colour_interpretation(folder: Path) -> None:
    source, pixels, valid = seen(folder / "vegas_uint16.tif")
    assert source.metadata["bands"] == "1,2,3" and "stretched" in source.metadata["values"]
    assert source.pixel_size == pytest.approx((0.2430, 0.2996), rel=1e-3)
    assert valid.all()
    pictured = pixels[:, pixels.any(axis=0)]
    assert pictured.mean(axis=1) == pytest.approx([67, 67, 67], abs=10)  # bright roofs, and no colour cast


def test_degrees_become_square_pixels_for_a_model(folder: Path) -> None:
    source, _, _ = seen(folder / "vegas_uint16.tif", gsd=0.3)
    assert source.pixel_size == pytest.approx((0.3, 0.3), rel=2e-3)
    assert (source.width, source.height) == (527, 649)


def test_utm_doubles_its_resolution(folder: Path) -> None:
    path = folder / "joplin_utm15n_06m.tif"
    with RasterSource.open(path, gsd=0.3) as fine, RasterSource.open(path) as native:
        assert (fine.width, fine.height) == (4096, 4096)
        pixels, valid = fine.read(Window(1000, 2000, 400, 400))
        halved = pixels.reshape(3, 200, 2, 200, 2).mean(axis=(2, 4))
        assert valid.all()
        assert np.abs(halved - native.read(Window(500, 1000, 200, 200))[0]).mean() < 5


def test_web_mercator_is_measured_on_the_ground(folder: Path) -> None:
    source, _, valid = seen(folder / "cogeo.tif")
    assert source.crs == CRS.from_epsg(3857) and valid.all()
    assert source.gsd == pytest.approx(0.5972 * np.cos(np.radians(37.65)), rel=3e-3)


def test_alpha_hides_what_it_covers(folder: Path) -> None:
    source, pixels, valid = seen(folder / "cog_alpha.tif")
    assert source.metadata["bands"] == "1,2,3"
    assert 0.88 < valid.mean() < 0.89
    assert not valid[:90, :90].any() and not pixels[:, ~valid].any()


def test_alpha_in_16_bit_and_bands_in_reverse(folder: Path) -> None:
    source, pixels, valid = seen(folder / "RGBA.uint16.tif")
    assert source.metadata["bands"] == "3,2,1"
    assert 0.48 < valid.mean() < 0.5
    assert (pixels[:, valid] == 127.5).all()  # one value all over


def test_nothing_but_nodata(folder: Path) -> None:
    _, pixels, valid = seen(folder / "all-nodata.tif")
    assert not valid.any() and not pixels.any()


def test_float_with_nodata_and_nan(folder: Path) -> None:
    source, pixels, valid = seen(folder / "cog_nodata_nan.tif")
    assert 0.48 < valid.mean() < 0.5 and not pixels[:, ~valid].any()
    assert 50 < pixels[:, valid].mean() < 150
    assert "float32 stretched" in source.metadata["values"]


def test_six_floats_and_no_crs(folder: Path) -> None:
    source, pixels, valid = seen(folder / "float_nan.tif")
    assert source.crs is None and source.gsd == 100
    assert valid.sum() == 5 and pixels.shape == (3, 2, 3)


def test_across_the_dateline(folder: Path) -> None:
    source, _, valid = seen(folder / "cog_dateline.tif")
    assert source.gsd == pytest.approx(100.013, rel=1e-4) and valid.all()


def test_rotated_without_crs(folder: Path) -> None:
    source, pixels, _ = seen(folder / "rotated.tif")
    assert source.crs is None and source.pixel_size == pytest.approx((20, 10))
    np.testing.assert_array_equal(pixels[0].ravel(), np.arange(150))
    source, _, _ = seen(folder / "rotated.tif", gsd=10)
    assert (source.width, source.height) == (20, 15)
    assert source.transform.b / source.transform.a == pytest.approx(5 / 17.3205 / 0.5, rel=1e-4)


def test_a_damaged_file_is_read_as_far_as_it_goes(folder: Path) -> None:
    with RasterSource.open(folder / "corrupt.tif", band_count=3) as source:
        assert source.read(Window(0, 0, 512, 512))[1].all()
        with pytest.raises(RasterError, match=r"corrupt\.tif is damaged at columns 448 to 960, rows 448 to 960"):
            for tile in TileGrid(source.width, source.height, tile_size=512, overlap=64):
                source.read(tile.window)


@pytest.mark.parametrize("name", ["all-nodata.tif", "cog_dateline.tif", "cog_nodata_nan.tif", "float_nan.tif", "rotated.tif"])
def test_what_is_too_coarse_for_buildings_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(RasterFitError, match=r"too coarse to see buildings\. .*--gsd"):
        RasterSource.open(folder / name, band_count=3, gsd=0.3)
