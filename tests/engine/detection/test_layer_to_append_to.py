"""Rows are appended to a layer whole or not at all, and what the layer has is as it was."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio.crs

import engine
from engine.detection.layer_writer import LayerWriter, reserve_layer
from engine.errors import ArgumentError, CancelledError
from tests.engine.detection.label_raster import LabelPredictor, write_label_raster
from tests.engine.detection.label_towns import shapes_town
from tests.engine.detection.test_layer_writer import UTM, contents, squares, write_others


def write(path: Path, count: int, **arguments) -> None:
    writer = LayerWriter(path, crs=UTM, **arguments)
    writer.write(squares(count))
    writer.close()


def rows(path: Path, layer: str = "buildings") -> list[tuple]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT * FROM {layer} ORDER BY fid").fetchall()


def test_rows_are_added_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "city.gpkg"
    write_others(path)
    write(path, 5, layer="buildings", metadata={"model": "first"})
    before = rows(path)
    write(path, 3, layer="buildings", append=True, metadata={"model": "second"})
    assert contents(path) == {"parcels": 37, "roads": 5, "buildings": 8}
    assert rows(path)[:5] == before
    assert pyogrio.read_info(path, layer="buildings")["layer_metadata"]["model"] == "first"
    found = pyogrio.read_dataframe(path, layer="buildings", bbox=tuple(squares(1).geometries[0].bounds))
    assert len(found) == 2  # by the spatial index, which knows the new one too
    assert os.listdir(tmp_path) == ["city.gpkg"]


@pytest.mark.parametrize("geometry_type", ["Polygon", "MultiPolygon", "Unknown"])
def test_a_layer_with_more_fields_takes_them(tmp_path: Path, geometry_type: str) -> None:
    path = tmp_path / "reviewed.gpkg"
    fields = {"status": ["accepted"], "area_m2": [1.0], "score": [0.25]}
    pyogrio.raw.write(
        path, *_raw(fields), layer="checked", driver="GPKG", geometry_type=geometry_type, crs="EPSG:32645",
        promote_to_multi=geometry_type == "MultiPolygon",
    )  # fmt: skip
    write(path, 2, layer="checked", append=True)
    frame = pyogrio.read_dataframe(path, layer="checked")
    assert frame["score"].tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert frame["area_m2"].tolist() == pytest.approx([1.0, 102.01, 102.01])
    assert frame["status"].tolist()[0] == "accepted" and frame["status"].isna().tolist() == [False, True, True]
    assert set(frame.geometry.geom_type) == {"MultiPolygon" if geometry_type == "MultiPolygon" else "Polygon"}


def _raw(fields: dict[str, list]) -> tuple:
    import shapely

    wkb = shapely.to_wkb(np.asarray(squares(1).geometries, dtype=object))
    values = [np.array(each, dtype=object if isinstance(each[0], str) else np.float64) for each in fields.values()]
    return wkb, values, np.array(list(fields), dtype=object)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"crs": rasterio.crs.CRS.from_epsg(32644)}, "has the CRS WGS 84 / UTM zone 45N, the raster WGS 84 / UTM zone 44N"),
        ({"crs": None}, "has the CRS WGS 84 / UTM zone 45N, the raster none"),
        ({"classes": ("car", "truck")}, "lacks the fields class"),
        ({"layer": "roads"}, "lacks the fields score, area_m2"),
        ({"layer": "rivers"}, "has no layer 'rivers', but buildings, parcels, roads"),
    ],
)
def test_a_layer_of_another_kind_is_refused_before_any_work(tmp_path: Path, change: dict, problem: str) -> None:
    path = tmp_path / "city.gpkg"
    write_others(path)
    write(path, 5, layer="buildings")
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=problem):
        LayerWriter(path, **{"crs": UTM, "layer": "buildings", "append": True, **change})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["city.gpkg"]


@pytest.mark.parametrize(("name", "problem"), [("new.gpkg", "is not there"), ("a.geojson", "Nothing can be appended")])
def test_there_must_be_something_to_append_to(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        reserve_layer(tmp_path / name, append=True)
    assert os.listdir(tmp_path) == []


def test_a_row_that_is_refused_leaves_none_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "city.gpkg"
    write(path, 5)
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON buildings WHEN NEW.score > 0.99 BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
        database.commit()
    before = rows(path)
    writer = LayerWriter(path, crs=UTM, append=True)
    writer.write(squares(3))
    with pytest.raises(engine.errors.OutputError, match=r"city\.gpkg cannot be written"):
        writer.close()
    assert rows(path) == before and os.listdir(tmp_path) == ["city.gpkg"]


def test_a_detection_that_is_cancelled_appends_nothing_and_can_be_resumed(tmp_path: Path) -> None:
    raster = write_label_raster(tmp_path / "town.tif", shapes_town(np.random.default_rng(11), 400, 500))
    output, settings = tmp_path / "out.gpkg", {"overlap": 32, "outline": "raw", "min_area": 0}
    whole = engine.detect(raster, output, predictor=LabelPredictor(64), **settings)
    before = rows(output)
    predictor = LabelPredictor(64)
    with pytest.raises(CancelledError, match="Nothing was appended to buildings; --resume goes on"):
        engine.detect(raster, output, predictor=predictor, append=True, cancel=lambda: len(predictor.batches) > 10, **settings)
    assert rows(output) == before
    summary = engine.detect(raster, output, predictor=LabelPredictor(64), append=True, resume=True, **settings)
    assert summary.tiles_seen < whole.tiles_seen
    assert [row[2:] for row in rows(output)] == [row[2:] for row in before] * 2
    assert sorted(os.listdir(tmp_path)) == ["out.gpkg", "town.tif"]


@pytest.mark.slow
def test_a_kill_while_rows_are_appended_leaves_those_that_were_there(tmp_path: Path) -> None:
    path = tmp_path / "city.gpkg"
    write(path, 5)
    before = rows(path)
    program = (
        "import sys\n"
        "from tests.engine.detection.test_layer_writer import UTM, LayerWriter, squares\n"
        "writer = LayerWriter(sys.argv[1], crs=UTM, append=True)\n"
        "writer.write(squares(300_000))\n"
        "writer.close()\n"
    )
    project = Path(__file__).resolve().parents[3]
    adding = subprocess.Popen([sys.executable, "-c", program, str(path)], env={**os.environ, "PYTHONPATH": str(project)})
    while not (tmp_path / "city.gpkg-journal").exists():
        assert adding.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    time.sleep(0.2)  # some rows are on their way
    assert adding.poll() is None, "it ended before it could be killed"
    adding.kill()
    adding.wait()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert rows(path) == before
    write(path, 2, append=True)  # what was left behind is in nobody's way
    assert len(rows(path)) == 7
