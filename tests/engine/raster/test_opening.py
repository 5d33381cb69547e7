"""Datasets that cannot be opened say so in one line; those that can run nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from engine.errors import MaskDinoError, RasterError, RasterFitError
from engine.raster.opening import open_dataset
from engine.raster.source import RasterSource
from tests.engine.raster.raster_files import picture, whole, write_raster

PYTHON_VRT = """<VRTDataset rasterXSize="20" rasterYSize="20">
  <VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">
    <PixelFunctionType>smuggled</PixelFunctionType>
    <PixelFunctionLanguage>Python</PixelFunctionLanguage>
    <PixelFunctionCode><![CDATA[
def smuggled(in_ar, out_ar, *args, **kwargs):
    open({marker!r}, "w").close()
    out_ar[:] = 7
]]></PixelFunctionCode>
    <SimpleSource><SourceFilename relativeToVRT="1">source.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
  </VRTRasterBand>
</VRTDataset>
"""


def refusal(path: Path | str) -> str:
    with pytest.raises(MaskDinoError) as caught, RasterSource.open(path) as source:
        whole(source)
    assert isinstance(caught.value, (RasterError, RasterFitError))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "nowhere.tif does not exist" in refusal(tmp_path / "nowhere.tif")


def test_a_folder_is_no_raster(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a raster at all\n", b"II*\0"])
def test_what_is_no_raster_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert "cannot be opened as a raster" in refusal(path)


def test_a_dataset_without_bands_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vrt"
    path.write_text('<VRTDataset rasterXSize="20" rasterYSize="20"></VRTDataset>')
    assert "a.vrt" in refusal(path)


def test_subdatasets_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for table, append in (("spring", "NO"), ("autumn", "YES")):
        write_raster(path, picture(), driver="GPKG", RASTER_TABLE=table, APPEND_SUBDATASET=append)
    message = refusal(path)
    assert "holds 2 rasters" in message and "spring" in message and "autumn" in message


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tiled.tif", {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}),
        ("strips.tif", {}),
        ("jpeg.tif", {"compress": "jpeg", "photometric": "ycbcr"}),
        ("a.jpg", {"driver": "JPEG"}),
        ("a.png", {"driver": "PNG"}),
        ("a.jp2", {"driver": "JP2OpenJPEG"}),
    ],
)
def test_a_file_that_stops_half_way_is_an_error_and_no_picture(tmp_path: Path, name: str, options: dict) -> None:
    path = write_raster(tmp_path / name, picture(300, 300), **options)
    with RasterSource.open(path) as source:
        whole(source)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert name in refusal(path)


def test_a_vrt_whose_source_is_gone_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.vrt"
    path.write_text(PYTHON_VRT.replace(' subClass="VRTDerivedRasterBand"', "").replace("source.tif", "gone.tif"))
    assert "gone.tif" in refusal(path)


def test_python_in_a_vrt_never_runs_even_where_gdal_was_told_to(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    write_raster(tmp_path / "source.tif", picture(20, 20, bands=1))
    vrt = tmp_path / "a.vrt"
    vrt.write_text(PYTHON_VRT.replace("{marker!r}", repr(str(marker))))
    program = (
        "import sys\n"
        "from engine.raster.source import RasterSource\n"
        "from rasterio.windows import Window\n"
        "RasterSource.open(sys.argv[1]).read(Window(0, 0, 20, 20))\n"
    )
    environment = {**os.environ, "GDAL_VRT_ENABLE_PYTHON": "YES", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", program, str(vrt)], env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "RasterError" in done.stderr
    assert not marker.exists()


def test_gdal_keeps_a_bounded_cache() -> None:
    program = (
        "import engine.raster.opening, rasterio\n"
        "from rasterio._env import get_gdal_config\n"
        "with rasterio.Env(): print(get_gdal_config('GDAL_CACHEMAX'))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GDAL_CACHEMAX"}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**environment, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True
    )
    assert int(done.stdout) in (256, 256 << 20)


def test_an_overview_is_opened_by_its_number(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", picture(256, 256), overviews=[2, 4])
    with open_dataset(path) as full, open_dataset(path, overview=1) as quarter:
        assert (full.width, quarter.width) == (256, 64)
        assert isinstance(quarter, rasterio.DatasetReader)


@pytest.mark.parametrize("name", ["mit Leerzeichen.tif", "mapa-świata.tif", "地図.tif"])
def test_names_with_spaces_and_letters_of_the_world_work(tmp_path: Path, name: str) -> None:
    path = write_raster(tmp_path / name, picture())
    with RasterSource.open(path) as source:
        assert source.name == name
        assert whole(source)[1].all()
