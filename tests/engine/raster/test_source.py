"""A raster as the model sees it: the right pixels, in the right place, whatever the file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.windows import Window

from engine.errors import ArgumentError, NotLocalError, RasterError, RasterFitError
from engine.raster import source as source_module
from engine.raster.source import RasterSource
from tests.engine.raster.raster_files import UTM_TRANSFORM, picture, whole, write_raster

GSDS = (None, 0.3, 0.1, 0.17, 0.44, 0.6, 1.31)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, float | None], RasterSource]]:
    """Rasters of several kinds, each opened at several ground sampling distances."""
    folder = tmp_path_factory.mktemp("rasters")
    pixels = picture(120, 90)
    wide = pixels.astype(np.uint16) * 31 + 200
    wide[:, 30:50, 20:60] = 0
    paths = [
        write_raster(folder / "plain.tif", pixels),
        write_raster(folder / "gaps.tif", wide, nodata=0),
        write_raster(folder / "turned.tif", pixels, transform=Affine(0.26, 0.15, 360_000, 0.15, -0.26, 3_050_000)),
    ]
    opened = {(path.stem, gsd): RasterSource.open(path, gsd=gsd) for path in paths for gsd in GSDS}
    yield opened
    for source in opened.values():
        source.close()


@settings(max_examples=150)
@given(st.sampled_from(["plain", "gaps", "turned"]), st.sampled_from(GSDS), st.data())
def test_two_windows_give_the_same_pixels_where_they_overlap(
    sources: dict, kind: str, gsd: float | None, data: st.DataObject
) -> None:
    source = sources[kind, gsd]
    pixels, valid = whole(source)
    col = data.draw(st.integers(0, source.width - 1))
    row = data.draw(st.integers(0, source.height - 1))
    width = data.draw(st.integers(1, source.width - col))
    height = data.draw(st.integers(1, source.height - row))
    part, part_valid = source.read(Window(col, row, width, height))
    np.testing.assert_array_equal(part, pixels[:, row : row + height, col : col + width])
    np.testing.assert_array_equal(part_valid, valid[row : row + height, col : col + width])


@pytest.mark.parametrize("gsd", GSDS)
@pytest.mark.parametrize("kind", ["plain", "gaps", "turned"])
def test_what_models_see_is_float32_from_0_to_255(sources: dict, kind: str, gsd: float | None) -> None:
    source = sources[kind, gsd]
    pixels, valid = whole(source)
    assert pixels.dtype == np.float32 and valid.dtype == bool
    assert pixels.shape == (source.bands, source.height, source.width) and valid.shape == pixels.shape[1:]
    assert pixels.min() >= 0 and pixels.max() <= 255


@pytest.mark.parametrize("gsd", GSDS)
@pytest.mark.parametrize("kind", ["plain", "turned"])
def test_the_working_grid_covers_the_rasters_ground(sources: dict, kind: str, gsd: float | None) -> None:
    source, native = sources[kind, gsd], sources[kind, None]
    for corner in ((0, 0), (1, 0), (0, 1), (1, 1)):
        places = []
        for raster in (source, native):
            a, b, c, d, e, f = raster.transform[:6]
            col, row = corner[0] * raster.width, corner[1] * raster.height
            places.append((a * col + b * row + c, d * col + e * row + f))
        assert places[0] == pytest.approx(places[1], abs=1e-6)


def test_strips_that_bound_memory_change_no_pixel(sources: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources["gaps", 0.44]
    pixels, valid = whole(source)
    monkeypatch.setattr(source_module, "PIXELS_AT_ONCE", 500)
    again, valid_again = whole(source)
    np.testing.assert_array_equal(pixels, again)
    np.testing.assert_array_equal(valid, valid_again)


def test_8_bit_pixels_come_out_as_they_went_in(tmp_path: Path) -> None:
    pixels = picture()
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels)) as source:
        seen, valid = whole(source)
        np.testing.assert_array_equal(seen, pixels)
        assert valid.all()
        assert (source.width, source.height, source.bands, source.gsd) == (50, 40, 3, pytest.approx(0.3))
        assert source.transform == UTM_TRANSFORM
        assert source.metadata["bands"] == "1,2,3" and source.metadata["resampling"] == "none"


def test_halving_the_resolution_averages_four_pixels(tmp_path: Path) -> None:
    pixels = picture()
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels), gsd=0.6) as source:
        expected = pixels.reshape(3, 20, 2, 25, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(whole(source)[0], expected, rtol=1e-5)
        assert source.metadata["resampling"] == "average"


def test_overviews_are_read_where_they_are_fine_enough(tmp_path: Path) -> None:
    pixels = picture(512, 512)
    path = write_raster(tmp_path / "a.tif", pixels, overviews=[2, 4, 8])
    with RasterSource.open(path, gsd=0.3 * 8) as source:
        assert source._dataset().width == 128
        expected = pixels.reshape(3, 64, 8, 64, 8).mean(axis=(2, 4))
        np.testing.assert_allclose(whole(source)[0], expected, atol=1)
        assert source.transform == Affine(2.4, 0, 360_000, 0, -2.4, 3_050_000)


def test_a_grey_band_is_repeated(tmp_path: Path) -> None:
    pixels = picture(bands=1)
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels), band_count=3) as source:
        np.testing.assert_array_equal(whole(source)[0], np.repeat(pixels, 3, axis=0))


def test_named_bands_come_in_their_order(tmp_path: Path) -> None:
    pixels = picture(bands=5)
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels), bands=(5, 1, 3), band_count=3) as source:
        np.testing.assert_array_equal(whole(source)[0], pixels[[4, 0, 2]])


def test_a_palette_is_expanded_and_its_transparent_entry_is_no_data(tmp_path: Path) -> None:
    index = picture(bands=1) % 3
    colours = {0: (9, 9, 9, 0), 1: (255, 10, 20, 255), 2: (30, 40, 50, 255)}
    path = write_raster(tmp_path / "a.png", index, colormap=colours, driver="PNG")
    with RasterSource.open(path, band_count=3) as source:
        seen, valid = whole(source)
    np.testing.assert_array_equal(valid, index[0] != 0)
    np.testing.assert_array_equal(seen[:, index[0] == 1].T, np.tile((255, 10, 20), ((index == 1).sum(), 1)))
    assert not seen[:, ~valid].any()


def half_masked(folder: Path, kind: str) -> tuple[Path, np.ndarray]:
    """Write a raster of values from 1 whose left half has no data, said in one of the ways there are."""
    pixels = np.maximum(picture(), 1)
    valid = np.ones(pixels.shape[1:], bool)
    valid[:, :25] = False
    path = folder / "a.tif"
    if kind == "alpha":
        opacity = np.where(valid, 255, 0).astype(np.uint8)[None]
        return write_raster(path, np.concatenate([pixels, opacity]), photometric="RGB", ALPHA="YES"), valid
    if kind == "faint alpha":
        opacity = np.where(valid, 100, 0).astype(np.uint8)[None]
        return write_raster(path, np.concatenate([pixels, opacity]), photometric="RGB", ALPHA="YES"), valid
    if kind == "mask band":
        return write_raster(path, pixels, mask=valid), valid
    if kind == "mask file":
        path = write_raster(folder / "a.tif", pixels)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(valid)
        assert (folder / "a.tif.msk").exists()
        return path, valid
    if kind == "nodata":
        return write_raster(path, np.where(valid, pixels, 0).astype(np.uint8), nodata=0), valid
    if kind == "nan":
        return write_raster(path, np.where(valid, pixels, np.nan).astype(np.float32)), valid
    if kind == "declared nan":
        return write_raster(path, np.where(valid, pixels, np.nan).astype(np.float32), nodata=np.nan), valid
    return write_raster(path, np.where(valid, pixels, -3.4028235e38).astype(np.float32)), valid


@pytest.mark.parametrize("gsd", [None, 0.6])
@pytest.mark.parametrize(
    "kind", ["alpha", "faint alpha", "mask band", "mask file", "nodata", "nan", "declared nan", "undeclared lowest float"]
)
def test_every_way_to_say_no_data_is_understood(tmp_path: Path, kind: str, gsd: float | None) -> None:
    path, valid = half_masked(tmp_path, kind)
    with RasterSource.open(path, band_count=3, gsd=gsd, fill=(10, 20, 30)) as source:
        seen, seen_valid = whole(source)
    expected = valid if gsd is None else valid.reshape(20, 2, 25, 2).mean(axis=(1, 3)) >= 0.5
    np.testing.assert_array_equal(seen_valid, expected)
    np.testing.assert_array_equal(np.unique(seen[:, ~expected], axis=1), [[10], [20], [30]])
    assert np.isfinite(seen).all()


def test_a_black_roof_in_one_band_is_still_data(tmp_path: Path) -> None:
    pixels = picture()
    pixels[0], pixels[1:] = 0, np.maximum(pixels[1:], 1)
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels, nodata=0)) as source:
        assert whole(source)[1].all()


@pytest.mark.parametrize("gsd", [None, 0.6])
def test_what_is_missing_in_one_band_is_a_number_all_the_same(tmp_path: Path, gsd: float | None) -> None:
    pixels = picture().astype(np.float32)
    pixels[0, :, :25], pixels[1, :9], pixels[2, 0, 0] = np.nan, np.inf, 3e38
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels), gsd=gsd) as source:
        seen, valid = whole(source)
        assert valid[1:].all() and np.isfinite(seen).all()
        assert "nan" not in source.metadata["values"]


@pytest.mark.parametrize("compress", ["deflate", "jpeg"])
def test_a_mask_holds_in_overviews_too(tmp_path: Path, compress: str) -> None:
    valid = np.ones((512, 512), bool)
    valid[:, :256] = False
    path = write_raster(tmp_path / "a.tif", np.maximum(picture(512, 512), 1), mask=valid, overviews=[2, 4], compress=compress)
    with RasterSource.open(path, gsd=0.3 * 8) as source:
        assert source._dataset().width == 128
        seen, seen_valid = whole(source)
    np.testing.assert_array_equal(seen_valid, valid[::8, ::8])
    assert not seen[:, ~seen_valid].any()


def test_a_palette_is_averaged_as_colours(tmp_path: Path) -> None:
    index = (np.indices((256, 256)).sum(axis=0, keepdims=True) % 2 * 2).astype(np.uint8)
    colours = {0: (200, 0, 0, 255), 1: (0, 255, 0, 255), 2: (0, 0, 100, 255)}
    path = write_raster(tmp_path / "a.tif", index, colormap=colours, overviews=[2, 4])
    with RasterSource.open(path, gsd=0.3 * 8, band_count=3) as source:
        np.testing.assert_allclose(whole(source)[0].mean(axis=(1, 2)), [100, 0, 50], atol=0.1)


def test_damage_in_one_place_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_raster(path, picture(600, 600).astype(np.uint16) * 20, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    content = bytearray(path.read_bytes())
    content[-3000:-2000] = bytes(1000)  # in the last tile
    path.write_bytes(content)
    with RasterSource.open(path) as source:
        assert "stretched" in source.metadata["values"]
        assert source.read(Window(0, 0, 64, 64))[1].all()
        with pytest.raises(RasterError, match="damaged"):
            whole(source)


def test_16_bit_is_stretched_the_same_in_every_window(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = (np.linspace(0, 1, 12_000).reshape(1, 100, 120) * 3000 + 500).astype(np.uint16)
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels), band_count=1) as source:
        seen, _ = whole(source)
        assert seen[0, 0, 0] == 0 and seen[0, -1, -1] == 255 and abs(seen[0, 50, 0] - 127.5) < 1
        assert "stretched" in source.metadata["values"]


def test_16_bit_with_8_bit_values_is_clipped_where_a_sample_missed_more(tmp_path: Path) -> None:
    pixels = picture(1500, 1500, bands=1).astype(np.uint16)
    pixels[0, 1, 1] = 60_000  # of 2 million pixels every second row and column is looked at
    with RasterSource.open(write_raster(tmp_path / "a.tif", pixels)) as source:
        np.testing.assert_array_equal(whole(source)[0], np.minimum(pixels, 255))


def test_a_raster_without_data_is_all_fill(tmp_path: Path) -> None:
    with RasterSource.open(write_raster(tmp_path / "a.tif", np.zeros((1, 5, 5), np.int16), nodata=0)) as source:
        seen, valid = whole(source)
    assert not valid.any() and not seen.any()


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RasterFitError, match="complex"):
        RasterSource.open(write_raster(tmp_path / "a.tif", picture(bands=1).astype(np.complex64)))
    with rasterio.open(
        tmp_path / "radar.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="complex_int16"
    ) as target:
        target.write(np.zeros((1, 8, 8), np.complex64))
    with pytest.raises(RasterFitError, match="complex"):
        RasterSource.open(tmp_path / "radar.tif")


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("gsd", [None, 0.6])
def test_large_numbers_keep_their_differences(tmp_path: Path, dtype: str, gsd: float | None) -> None:
    small = picture().astype(dtype) * 3
    large = small + np.array(2_000_000_000 if dtype.endswith("32") else 2**52 + 1, dtype)
    paths = [write_raster(tmp_path / f"{n}.tif", pixels) for n, pixels in enumerate((small, large))]
    seen = []
    for path in paths:
        with RasterSource.open(path, gsd=gsd) as source:
            seen.append(whole(source)[0])
    np.testing.assert_allclose(seen[0], seen[1], atol=0.01)


def spoilt_jpeg(path: Path) -> Path:
    """A tiled JPEG GeoTIFF in the middle of which a disk lost some bytes."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (3, 64, 64)), np.ones((1, 8, 8))).astype(np.uint8)
    blocks = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    write_raster(path, pixels, compress="jpeg", photometric="ycbcr", **blocks)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = rng.integers(0, 255, 300, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    return path


def test_blocks_that_gdal_warns_of_are_damage_whoever_asks_first(tmp_path: Path) -> None:
    path = spoilt_jpeg(tmp_path / "a.tif")
    with RasterSource.open(path) as source:
        for _ in range(2):  # GDAL keeps the block and warns once
            with pytest.raises(RasterError, match=r"a\.tif is damaged at columns 0 to 512"):
                whole(source)


@pytest.mark.parametrize("gsd", [None, 0.6])
def test_damaged_blocks_are_no_data_where_that_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture, gsd) -> None:
    path = spoilt_jpeg(tmp_path / "a.tif")
    with RasterSource.open(path, on_damage="skip", gsd=gsd) as source:
        seen, valid = whole(source)
        again = [source.read(Window(0, row, source.width, 1))[1] for row in range(source.height)]
        assert np.array_equal(np.concatenate(again), valid)
        side = 128 if gsd is None else 64
        blocks = valid.reshape(source.height // side, side, source.width // side, side).mean(axis=(1, 3))
        assert set(blocks.ravel()) == {0.0, 1.0} and 0 < (blocks == 0).sum() < 4
        assert caplog.text.count("are taken for no data") == (blocks == 0).sum()
        assert not seen[:, ~valid].any()


def mosaic_of(path: Path, source: str) -> Path:
    path.write_text(
        '<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def index_of_tiles(path: Path, tile: Path) -> Path:
    """Write GDAL's index of the tiles of a raster, of one tile, in the form of a vector file."""
    with rasterio.open(tile) as raster:
        bounds, crs = shapely.box(*raster.bounds), raster.crs.to_wkt()
    pyogrio.raw.write(
        path, geometry=shapely.to_wkb([bounds]), field_data=[np.array([str(tile)], dtype=object)], fields=["location"],
        geometry_type="Polygon", crs=crs, driver="GPKG",
    )  # fmt: skip
    return path


def test_what_a_raster_reads_from_is_listed_and_kept_local_where_that_is_asked_for(tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO", "engine")
    (tmp_path / "home").mkdir()
    write_raster(tmp_path / "home" / "a.tif", picture(bands=1))
    write_raster(tmp_path / "secret.tif", picture(bands=1))
    home = tmp_path / "home"
    inside = mosaic_of(home / "inside.vrt", str(home / "a.tif"))
    outside = mosaic_of(home / "outside.vrt", str(tmp_path / "secret.tif"))
    nested = mosaic_of(home / "nested.vrt", str(outside))
    (home / "link.tif").symlink_to(tmp_path / "secret.tif")
    linked = mosaic_of(home / "linked.vrt", str(home / "link.tif"))
    for path in (home / "a.tif", inside):
        RasterSource.open(path, local_only=True).close()
    for path in (outside, nested, linked):
        RasterSource.open(path).close()
        for name in (path, f"vrt://{path}?a_srs=EPSG:3857"):
            with pytest.raises(NotLocalError, match="--local-only"):
                RasterSource.open(name, local_only=True)
    RasterSource.open(f"vrt://{inside}?a_srs=EPSG:3857", local_only=True).close()
    assert f"nested.vrt reads from other files: {outside}, {tmp_path / 'secret.tif'}." in caplog.text
    curl = mosaic_of(home / "curl.vrt", "/vsicurl/http://127.0.0.1:9/a.tif")
    (home / "wms.xml").write_text(
        '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png</ServerUrl></Service><DataWindow>'
        "<UpperLeftX>0</UpperLeftX><UpperLeftY>9</UpperLeftY><LowerRightX>9</LowerRightX><LowerRightY>0</LowerRightY>"
        "<TileLevel>1</TileLevel></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>"
    )
    index = index_of_tiles(home / "index.gti.gpkg", tmp_path / "secret.tif")
    RasterSource.open(index).close()
    for path in (
        curl,
        home / "wms.xml",
        index,
        "/vsicurl/http://127.0.0.1:9/a.tif",
        "WMS:http://127.0.0.1:9/",
        "/vsimem/a.tif",
    ):
        with pytest.raises(NotLocalError, match="--local-only"):
            RasterSource.open(path, local_only=True)


@pytest.mark.parametrize("kind", ["itself", "mosaic"])
def test_pipes_are_refused(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    name = tmp_path / "pipe.tif"
    if kind == "mosaic":
        name = tmp_path / "a.vrt"
        name.write_text(
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            '<SourceFilename relativeToVRT="1">pipe.tif</SourceFilename><SourceBand>1</SourceBand>'
            '<SourceProperties RasterXSize="8" RasterYSize="8" DataType="Byte" BlockXSize="8" BlockYSize="8"/>'
            '<SrcRect xOff="0" yOff="0" xSize="8" ySize="8"/><DstRect xOff="0" yOff="0" xSize="8" ySize="8"/>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
    with pytest.raises(RasterError, match="pipe or a device"):
        RasterSource.open(name)


@pytest.mark.parametrize("gsd", [None, 0.3, 0.1])
def test_one_pixel_is_a_raster(tmp_path: Path, gsd: float | None) -> None:
    path = write_raster(tmp_path / "a.tif", np.full((3, 1, 1), 77, np.uint8))
    with RasterSource.open(path, gsd=gsd) as source:
        seen, valid = whole(source)
        assert valid.all() and (seen == 77).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jp2", {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}), ("a.png", {"driver": "PNG"})],
)
def test_other_formats_read_the_same(tmp_path: Path, name: str, options: dict) -> None:
    pixels = picture()
    with RasterSource.open(write_raster(tmp_path / name, pixels, **options)) as source:
        np.testing.assert_array_equal(whole(source)[0], pixels)
        assert source.gsd == pytest.approx(0.3)


def test_a_photo_without_georeference_is_taken_to_have_the_models_size(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.png", picture(), crs=None, transform=None, driver="PNG")
    with RasterSource.open(path, gsd=0.3) as source:
        assert (source.width, source.height, source.gsd, source.crs) == (50, 40, 0.3, None)
    with RasterSource.open(path) as source:
        assert source.gsd is None and source.metadata["gsd"] == "unknown"


def test_a_raster_that_ground_control_points_bend_reads_warped(tmp_path: Path) -> None:
    places = [(0, 0, 0, 0), (0, 50, 15, 2), (40, 0, -2, -12), (40, 50, 13, -13)]
    points = [GroundControlPoint(row, col, 360_000 + x, 3_050_000 + y) for row, col, x, y in places]
    path = write_raster(tmp_path / "a.tif", picture() // 2 + 100, gcps=points)
    for gsd in (None, 0.5):
        with RasterSource.open(path, gsd=gsd) as source:
            seen, valid = whole(source)
            assert "ground control points" in source.metadata["resampling"]
            assert 0.5 < valid.mean() < 1
            assert seen[:, valid].min() >= 99 and not seen[:, ~valid].any()
            np.testing.assert_array_equal(source.read(Window(5, 5, 9, 9))[0], seen[:, 5:14, 5:14])


def test_a_window_outside_is_refused(tmp_path: Path) -> None:
    with RasterSource.open(write_raster(tmp_path / "a.tif", picture())) as source:
        for window in (Window(-1, 0, 5, 5), Window(46, 0, 5, 5), Window(0, 0, 0, 5)):
            with pytest.raises(ArgumentError, match="not inside"):
                source.read(window)


@pytest.mark.parametrize("gsd", [0, -1, float("nan"), float("inf")])
def test_a_gsd_that_is_no_length_is_refused(tmp_path: Path, gsd: float) -> None:
    with pytest.raises(ArgumentError, match="gsd is"):
        RasterSource.open(write_raster(tmp_path / "a.tif", picture()), gsd=gsd)


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", picture(400, 400), tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with RasterSource.open(path, gsd=0.2) as source:
        expected, _ = whole(source)
        wrong: list[int] = []

        def read(seed: int) -> None:
            places = np.random.default_rng(seed)
            for _ in range(20):
                col, row = (int(place) for place in places.integers(0, 500, 2))
                seen, _ = source.read(Window(col, row, 100, 100))
                if not np.array_equal(seen, expected[:, row : row + 100, col : col + 100]):
                    wrong.append(seed)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


MOSAIC = """
import resource, sys
from engine.raster import source as source_module
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
with RasterSource.open(sys.argv[1], gsd=0.3) as source:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grid = TileGrid(source.width, source.height, tile_size=512, overlap=64)
    for tile in grid[:: max(1, len(grid) // 300)]:
        source.read(tile.window)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource.getrusage")
@pytest.mark.parametrize("pixel", [0.3, 0.02])
def test_memory_does_not_grow_with_the_raster(tmp_path: Path, project: Path, pixel: float) -> None:
    write_raster(tmp_path / "cell.tif", picture(1000, 1000), tiled=True, compress="deflate")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}">'
        + "".join(
            '<SimpleSource><SourceFilename relativeToVRT="1">cell.tif</SourceFilename>'
            f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="1000" ySize="1000"/>'
            f'<DstRect xOff="{col}" yOff="{row}" xSize="1000" ySize="1000"/></SimpleSource>'
            for row in range(0, 20_000, 1000)
            for col in range(0, 20_000, 1000)
        )
        + "</VRTRasterBand>"
        for band in (1, 2, 3)
    )
    place = f"<SRS>EPSG:32645</SRS><GeoTransform>360000, {pixel}, 0, 3050000, 0, -{pixel}</GeoTransform>"
    path = tmp_path / "mosaic.vrt"
    path.write_text(f'<VRTDataset rasterXSize="20000" rasterYSize="20000">{place}{bands}</VRTDataset>')
    done = subprocess.run([sys.executable, "-c", MOSAIC, str(path)], cwd=project, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 600  # MiB: GDAL's cache of 256 and the source pixels of a few tiles
