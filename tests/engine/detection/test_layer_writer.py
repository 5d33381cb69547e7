"""Writing footprints: every format, and nothing but finished files under the output's name."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio.crs
import shapely

from engine.detection import layer_writer
from engine.detection.layer_writer import LayerWriter, check_output, reserve_layer
from engine.errors import ArgumentError, OutputError

UTM = rasterio.crs.CRS.from_epsg(32645)
SUFFIXES = [".gpkg", ".geojson", ".fgb", ".parquet"]


def squares(count: int, *, side: float = 10.1) -> SimpleNamespace:
    left = 330_000 + np.arange(count) * 20.0
    return SimpleNamespace(
        geometries=shapely.box(left, 3_055_000.1, left + side, 3_055_000.1 + side),
        scores=np.linspace(0.5, 1, count, dtype=np.float32),
        areas=np.full(count, side * side),
    )


def read(path: Path) -> geopandas.GeoDataFrame:
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        return geopandas.read_parquet(path)
    return geopandas.read_file(path, layer="buildings" if path.suffix == ".gpkg" else None)


def by_place(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    # A FlatGeobuf is sorted by its spatial index.
    return frame.sort_values("score").reset_index(drop=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["buildings", "maisons trouvées à Banepa (बनेपा)"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, name: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"{name}{suffix}"
    rows = squares(30)
    writer = LayerWriter(path, crs=UTM, metadata={"model": "none"})
    for part in (slice(0, 10), slice(10, 10), slice(10, 30)):
        writer.write(SimpleNamespace(geometries=rows.geometries[part], scores=rows.scores[part], areas=rows.areas[part]))
    assert not path.exists()
    writer.close()
    writer.close()
    writer.abort()
    assert os.listdir(tmp_path) == [path.name]
    frame = by_place(read(path))
    assert frame.crs.to_epsg() == 32645
    assert list(frame.columns) == ["score", "area_m2", "geometry"]
    np.testing.assert_allclose(frame["score"], rows.scores, rtol=1e-6)
    np.testing.assert_allclose(frame["area_m2"], rows.areas)
    np.testing.assert_allclose(
        shapely.get_coordinates(shapely.normalize(frame.geometry.to_numpy())),
        shapely.get_coordinates(shapely.normalize(rows.geometries)),
        rtol=0,
        atol=0 if suffix != ".geojson" else 1e-8,
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_found_is_a_valid_layer_without_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"none{suffix}"
    writer = LayerWriter(path, crs=UTM)
    writer.close()
    frame = read(path)
    assert len(frame) == 0
    if suffix != ".geojson":  # without features, GDAL makes no columns of it
        assert {"score", "area_m2"} <= set(frame.columns)
    assert frame.crs.to_epsg() == 32645


def test_the_geopackage_streams_with_a_spatial_index_and_keeps_the_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_writer, "ROWS_A_WRITE", 7)
    path = tmp_path / "buildings.gpkg"
    writer = LayerWriter(path, crs=UTM, metadata={"model": "maskdino_tiny", "stretch": "2 %, 98 %"})
    for _ in range(5):
        writer.write(squares(5))
    assert pyogrio.read_info(next(tmp_path.glob("*.part.gpkg")))["features"] >= 20
    writer.close()
    info = pyogrio.read_info(path, layer="buildings")
    assert (info["features"], info["geometry_type"], info["fid_column"]) == (25, "Polygon", "fid")
    assert info["geometry_name"] == "geom"
    assert info["layer_metadata"]["stretch"] == "2 %, 98 %"
    assert info["capabilities"]["fast_spatial_filter"]
    with sqlite3.connect(path) as database:
        assert database.execute("select count(*) from rtree_buildings_geom").fetchone() == (25,)
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_the_parquet_file_keeps_the_metadata(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    writer = LayerWriter(tmp_path / "b.parquet", crs=UTM, metadata={"model": "maskdino_tiny"})
    writer.write(squares(2))
    writer.close()
    assert json.loads(parquet.read_schema(tmp_path / "b.parquet").metadata[b"maskdino"]) == {"model": "maskdino_tiny"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_layer_without_crs_and_areas_that_are_not_known(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plain{suffix}"
    rows = squares(3)
    rows.areas[:] = np.nan
    writer = LayerWriter(path, crs=None)
    writer.write(rows)
    writer.close()
    frame = read(path)
    assert len(frame) == 3
    assert frame["area_m2"].isna().all()
    if suffix != ".geojson":  # by definition longitude and latitude where it does not say otherwise
        assert frame.crs is None or frame.crs.name.startswith("Undefined")


@pytest.mark.parametrize(
    "crs", ["EPSG:4326", "EPSG:3857", "EPSG:2263", "+proj=tmerc +lat_0=27.5 +lon_0=85.4 +k=0.9999 +ellps=WGS84 +units=m"]
)
def test_the_crs_is_that_of_the_raster(tmp_path: Path, crs: str) -> None:
    writer = LayerWriter(tmp_path / "b.gpkg", crs=rasterio.crs.CRS.from_string(crs))
    writer.write(squares(1))
    writer.close()
    found = read(tmp_path / "b.gpkg").crs
    assert rasterio.crs.CRS.from_user_input(found) == rasterio.crs.CRS.from_string(crs)


def test_what_was_there_is_replaced_at_the_end_and_survives_an_abort(tmp_path: Path) -> None:
    path = tmp_path / "b.gpkg"
    first = LayerWriter(path, crs=UTM)
    first.write(squares(1))
    first.close()
    second = LayerWriter(path, crs=UTM)
    second.write(squares(4))
    assert len(read(path)) == 1
    second.abort()
    assert len(read(path)) == 1
    assert os.listdir(tmp_path) == ["b.gpkg"]
    third = LayerWriter(path, crs=UTM)
    third.write(squares(3))
    third.close()
    assert len(read(path)) == 3


@pytest.mark.parametrize("name", ["buildings", "buildings.tif", "buildings.shp", "buildings.gpkg.zip"])
def test_an_unknown_extension_is_refused_with_those_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match=r"\.gpkg, \.geojson, \.fgb or \.parquet"):
        check_output(tmp_path / name)


def test_a_folder_that_is_missing_or_in_the_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "missing" / "b.gpkg")
    (tmp_path / "b.gpkg").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path / "b.gpkg")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "file" / "b.gpkg")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["b!c", "b;c", "50 % #1?", "tab\tin it", "-b"])
def test_a_name_that_looks_like_an_address_is_only_a_name(tmp_path: Path, name: str, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    writer = LayerWriter(tmp_path / f"{name}{suffix}", crs=UTM)
    writer.write(squares(2))
    writer.close()
    assert os.listdir(tmp_path) == [f"{name}{suffix}"]


def test_a_folder_that_looks_like_an_archive_is_refused(tmp_path: Path) -> None:
    for name in ("a.zip!b", "a;b"):
        (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="part of an address"):
        check_output(tmp_path / "a.zip!b" / "b.gpkg")
    writer = LayerWriter(tmp_path / "a;b" / "b.gpkg", crs=UTM)
    writer.close()
    assert os.listdir(tmp_path / "a;b") == ["b.gpkg"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        if not Path("/proc/self").is_dir():
            pytest.skip("root may write everywhere, and there is no /proc")
        folder = Path("/proc")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        check_output(folder / "b.gpkg")
    assert "disk is full" not in str(caught.value)  # /proc has no room either, but that is not why


def test_a_database_with_unsaved_changes_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "b.gpkg"
    writer = LayerWriter(path, crs=UTM)
    writer.close()
    (tmp_path / "b.gpkg-wal").write_bytes(b"frames")
    with pytest.raises(OutputError, match="open in another program"):
        check_output(path)
    assert sorted(os.listdir(tmp_path)) == ["b.gpkg", "b.gpkg-wal"]


def test_a_database_that_is_opened_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "b.gpkg"
    LayerWriter(path, crs=UTM).close()
    writer = LayerWriter(path, crs=UTM)
    writer.write(squares(2))
    with closing(sqlite3.connect(path, isolation_level=None)) as editing:
        editing.execute("begin exclusive")
        editing.execute("create table edits (a)")
        with pytest.raises(OutputError, match="open in another program"):
            writer.close()
        editing.execute("commit")
        assert editing.execute("select count(*) from edits").fetchone() == (0,)
    assert os.listdir(tmp_path) == ["b.gpkg"]


def test_pyarrow_missing_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(OutputError, match=r"pip install .*parquet"):
        check_output(tmp_path / "b.parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        path = tmp_path / f"b{suffix}"
        path.write_bytes(b"what was there")
        with pytest.raises(OutputError, match="the disk is full"):
            writer = LayerWriter(path, crs=UTM)
            rng = np.random.default_rng(0)
            for _ in range(5):
                rows = squares(5000)
                rows.geometries = shapely.box(*rng.uniform(0, 1, (4, 5000)))  # at random: Parquet would compress them
                writer.write(rows)
            writer.close()
        assert os.listdir(tmp_path) == [path.name]
        assert path.read_bytes() == b"what was there"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def write_others(path: Path) -> None:
    """Write a GeoPackage with the layers parcels and roads."""
    for name, count in (("parcels", 37), ("roads", 5)):
        geopandas.GeoDataFrame(geometry=squares(count).geometries, crs=UTM.to_wkt()).to_file(path, layer=name, mode="a")


def contents(path: Path) -> dict[str, int]:
    return {name: len(geopandas.read_file(path, layer=name)) for name, _ in pyogrio.list_layers(path)}


def test_other_layers_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "city.gpkg"
    write_others(path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"holds other layers too: parcels, roads.*--layer NAME.*--overwrite"):
        check_output(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["city.gpkg"]
    file = reserve_layer(path, overwrite=True)
    LayerWriter(file, crs=UTM).close()
    file.close()
    assert contents(path) == {"buildings": 0}
    check_output(path)  # what it wrote itself is replaced without a word


def test_a_layer_is_added_to_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "city.gpkg"
    write_others(path)
    for count, name in ((3, "buildings"), (2, "Gebäude 2026")):
        writer = LayerWriter(path, crs=UTM, metadata={"model": "none"}, layer=name)
        writer.write(squares(count))
        assert name not in contents(path)
        writer.close()
    assert contents(path) == {"parcels": 37, "roads": 5, "buildings": 3, "Gebäude 2026": 2}
    assert pyogrio.read_info(path, layer="buildings")["layer_metadata"]["model"] == "none"
    alone = tmp_path / "alone.gpkg"
    writer = LayerWriter(alone, crs=UTM, metadata={"model": "none"})
    writer.write(squares(3))
    writer.close()
    assert read(path).equals(read(alone))
    assert sorted(os.listdir(tmp_path)) == ["alone.gpkg", "city.gpkg"]


def test_the_first_layer_of_a_file_has_the_name_that_was_given(tmp_path: Path) -> None:
    writer = LayerWriter(tmp_path / "new.gpkg", crs=UTM, layer="roofs")
    writer.write(squares(2))
    writer.close()
    assert contents(tmp_path / "new.gpkg") == {"roofs": 2}


@pytest.mark.parametrize(
    ("file", "name", "problem"),
    [
        ("city.gpkg", "Roads", "has a layer roads already"),
        ("city.gpkg", "", "cannot be called ''"),
        ("city.gpkg", "gpkg_contents", "cannot be called"),
        ("city.gpkg", "two\nlines", "cannot be called"),
        ("city.geojson", "roofs", "cannot hold several layers"),
    ],
)
def test_names_that_cannot_be_added(tmp_path: Path, file: str, name: str, problem: str) -> None:
    write_others(tmp_path / "city.gpkg")
    with pytest.raises(ArgumentError, match=problem):
        reserve_layer(tmp_path / file, layer=name)
    assert os.listdir(tmp_path) == ["city.gpkg"]


@pytest.mark.slow
def test_a_kill_while_a_layer_is_added_leaves_the_others_whole(tmp_path: Path) -> None:
    path = tmp_path / "city.gpkg"
    write_others(path)
    program = tmp_path / "add.py"
    program.write_text(
        "import sys\n"
        "from tests.engine.detection.test_layer_writer import UTM, LayerWriter, squares\n"
        "writer = LayerWriter(sys.argv[1], crs=UTM, layer='buildings')\n"
        "writer.write(squares(300_000))\n"
        "writer.close()\n"
    )
    project = Path(__file__).resolve().parents[3]
    adding = subprocess.Popen([sys.executable, str(program), str(path)], env={**os.environ, "PYTHONPATH": str(project)})
    checkpoint = tmp_path / "city.gpkg-journal"
    while not checkpoint.exists():
        assert adding.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    adding.kill()
    adding.wait()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert contents(path) == {"parcels": 37, "roads": 5}
    writer = LayerWriter(path, crs=UTM, layer="buildings")  # what was left behind is in nobody's way
    writer.close()
    assert contents(path) == {"parcels": 37, "roads": 5, "buildings": 0}
