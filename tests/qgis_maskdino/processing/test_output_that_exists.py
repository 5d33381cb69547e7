"""What becomes of what was there: other layers in a file, files that the project uses, a file of an earlier run."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from qgis.core import (
    QgsFeatureSink,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from qgis_maskdino.layers.appending import appended_output
from qgis_maskdino.layers.output_file import layer_output, layers_of
from tests.qgis_maskdino.processing.algorithm_runs import failure, polygon_layer, refusal, run
from tests.qgis_maskdino.processing.finding_engine import finds

pytestmark = pytest.mark.usefixtures("provider")

DETECT = "maskdino:detectbuildings"
FIELDS = ["score", "area_m2"]
SQUARE = "POLYGON((500000 5000000, 500010 5000000, 500010 4999990, 500000 4999990, 500000 5000000))"


@pytest.fixture
def register(tmp_path) -> Path:
    """A GeoPackage with two layers that nobody wants to lose."""
    path = tmp_path / "register.gpkg"
    for name in ("parcels", "roads"):
        layer = polygon_layer("EPSG:32633", SQUARE)
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.layerName = name
        if path.exists():
            options.actionOnExistingFile = QgsVectorFileWriter.ActionOnExistingFile.CreateOrOverwriteLayer
        written = QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), layer.transformContext(), options)
        assert written[0] == QgsVectorFileWriter.WriterError.NoError, written
    return path


@pytest.fixture
def shown():
    """Add a layer of a file to the project."""

    def add(source: Path | str, name: str) -> QgsVectorLayer:
        layer = QgsVectorLayer(str(source), name, "ogr")
        QgsProject.instance().addMapLayer(layer)
        next(layer.getFeatures())  # it holds the file open
        return layer

    yield add
    QgsProject.instance().clear()


def rows(path: Path) -> list[tuple]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM buildings ORDER BY fid").fetchall()


def count(source: Path | str) -> int:
    return QgsVectorLayer(str(source), "count", "ogr").featureCount()


class TestBeforeAnyWork:
    def test_a_geopackage_with_other_layers_is_refused(self, scene, register):
        words = refusal(DETECT, {"INPUT": str(scene), "OUTPUT": str(register)})
        assert f"{register} is a GeoPackage that holds other layers too: parcels, roads." in words
        assert "Save to GeoPackage" in words and f"ogr:dbname='{register}'" in words

    def test_as_a_definition_too(self, scene, register):
        definition = QgsProcessingOutputLayerDefinition(str(register), QgsProject.instance())
        assert "parcels, roads" in refusal(DETECT, {"INPUT": str(scene), "OUTPUT": definition})

    def test_a_layer_that_is_there_is_not_written_over(self, scene, register):
        words = refusal(DETECT, {"INPUT": str(scene), "OUTPUT": layer_output(str(register), "Roads")})
        assert "has a layer roads already" in words
        assert refusal(DETECT, {"INPUT": str(scene), "OUTPUT": layer_output(str(register), "buildings")}) == ""

    @pytest.mark.parametrize("name", ["buildings.gpkg", "buildings.geojson"])
    def test_a_file_that_the_project_uses_is_refused(self, scene, engine, shown, tmp_path, name):
        engine(finds(3))
        path = tmp_path / name
        run(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        assert refusal(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)}) == ""  # one's own, which nobody uses
        shown(path, "Our town")
        words = refusal(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        assert f"The project uses the output {path} in its layer Our town." in words

    @pytest.mark.parametrize("name", ["out.txt", "out.buildings", "out.tif"])
    def test_a_format_that_holds_no_layer_is_refused(self, scene, tmp_path, name):
        words = refusal(DETECT, {"INPUT": str(scene), "OUTPUT": str(tmp_path / name)})
        assert f"'{os.path.splitext(name)[1]}' is no format" in words

    def test_the_matches_of_an_evaluation_are_held_to_the_same(self, register, tmp_path):
        layer = polygon_layer("EPSG:32633", SQUARE)
        QgsProject.instance().addMapLayer(layer)
        try:
            parameters = {"DETECTIONS": layer.id(), "ANNOTATIONS": layer.id(), "OUTPUT": str(register)}
            assert "parcels, roads" in refusal("maskdino:evaluatedetections", parameters)
            parameters.update(OUTPUT="memory:", REPORT=str(tmp_path / "report.html"))
            assert refusal("maskdino:evaluatedetections", parameters) == ""
        finally:
            QgsProject.instance().clear()


class TestWriting:
    def test_a_layer_is_added_to_a_geopackage_that_is_open(self, engine, scene, register, shown):
        roads = shown(f"{register}|layername=roads", "Roads")
        engine(finds(5))
        done = run(DETECT, {"INPUT": str(scene), "OUTPUT": layer_output(str(register), "buildings")})
        assert done.layer().featureCount() == 5
        assert layers_of(str(register)) == ["buildings", "parcels", "roads"]
        assert roads.featureCount() == count(f"{register}|layername=parcels") == 1

    def test_a_name_that_was_taken_meanwhile_is_left_to_the_other(self, engine, scene, register):
        engine(f"import sqlite3\n{_TAKES_THE_NAME.format(register=str(register))}" + finds(5))
        run(DETECT, {"INPUT": str(scene), "OUTPUT": layer_output(str(register), "buildings")})
        assert layers_of(str(register)) == ["buildings", "buildings_2", "parcels", "roads"]

    @pytest.mark.parametrize("name", ["a.gpkg", "b.c.geojson", "bâtiments.shp", "d.fgb", "f.kml", "g.csv", "h.sqlite"])
    def test_a_file_is_replaced_by_one_that_is_whole(self, engine, scene, tmp_path, name):
        folder = tmp_path / "out"
        folder.mkdir()
        for number in (3, 5):
            engine(finds(number))
            done = run(DETECT, {"INPUT": str(scene), "OUTPUT": str(folder / name)})
            assert done.layer().featureCount() == number
        assert done.results["OUTPUT"] == str(folder / name)
        assert not [path for path in folder.iterdir() if path.name.startswith(".maskdino")]

    def test_a_file_that_came_into_use_meanwhile_is_left_alone(self, engine, scene, tmp_path):
        path = tmp_path / "town.gpkg"
        engine(finds(3))
        run(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        reader = sqlite3.connect(path)
        reader.execute("PRAGMA journal_mode=WAL")
        reader.execute("CREATE TABLE notes (text)")
        engine(finds(5))
        done = run(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        reader.close()
        assert done.results["OUTPUT"] == str(tmp_path / "town_2.gpkg")
        assert (count(path), count(tmp_path / "town_2.gpkg")) == (3, 5)
        assert any("town_2.gpkg" in line for line in done.feedback.warned)

    def test_the_layer_is_loaded_where_that_is_asked_for(self, engine, scene, tmp_path):
        engine(finds(2))
        path = tmp_path / "town.gpkg"
        done = run(
            DETECT, {"INPUT": str(scene), "OUTPUT": QgsProcessingOutputLayerDefinition(str(path), QgsProject.instance())}
        )
        assert done.context.willLoadLayerOnCompletion(str(path))
        details = done.context.layerToLoadOnCompletionDetails(str(path))
        assert (details.name, details.outputName) == ("Buildings", "OUTPUT")
        assert details.postProcessor() is not None


class TestAppending:
    @pytest.fixture
    def district(self, engine, scene, tmp_path) -> Path:
        engine(finds(3))
        run(DETECT, {"INPUT": str(scene), "OUTPUT": layer_output(str(tmp_path / "district.gpkg"), "buildings")})
        return tmp_path / "district.gpkg"

    def test_rows_are_added_to_those_that_are_there(self, engine, scene, district):
        before = rows(district)
        engine(finds(2500))
        run(DETECT, {"INPUT": str(scene), "OUTPUT": appended_output(str(district), "buildings", FIELDS)})
        after = rows(district)
        assert (len(after), after[:3]) == (2503, before)
        assert after[3][2:] == before[0][2:]  # fields by their names

    def test_into_the_crs_of_the_layer(self, engine, scene, tmp_path):
        path = tmp_path / "degrees.gpkg"
        layer = polygon_layer("EPSG:4326", fields="&field=status:string&field=area_m2:double&field=score:double")
        options = QgsVectorFileWriter.SaveVectorOptions()
        QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), layer.transformContext(), options)
        engine(finds(3))
        run(DETECT, {"INPUT": str(scene), "OUTPUT": appended_output(str(path), "degrees", FIELDS)})
        layer = QgsVectorLayer(str(path), "degrees", "ogr")
        assert [feature["score"] for feature in layer.getFeatures()] == [0.9] * 3
        assert abs(layer.extent().center().x() - 15) < 1e-3

    def test_a_row_that_is_refused_leaves_none_of_the_others(self, engine, scene, district):
        with closing(sqlite3.connect(district)) as database:
            database.execute(
                "CREATE TRIGGER full BEFORE INSERT ON buildings WHEN (SELECT count(*) FROM buildings) >= 2000 "
                "BEGIN SELECT RAISE(ABORT, 'no more'); END"
            )
            database.commit()
        before = rows(district)
        engine(finds(2500))
        words = failure(DETECT, {"INPUT": str(scene), "OUTPUT": appended_output(str(district), "buildings", FIELDS)})
        assert rows(district) == before
        kept = words.rpartition("are kept in ")[2].strip().splitlines()[0].removesuffix(".")
        assert count(kept) == 2500

    def test_a_layer_that_is_gone_is_noticed_before_any_work(self, scene, district):
        output = appended_output(str(district), "buildings", FIELDS)
        district.unlink()
        assert "There is no layer" in refusal(DETECT, {"INPUT": str(scene), "OUTPUT": output})


class TestFailures:
    def test_a_run_that_fails_replaces_nothing(self, engine, scene, tmp_path):
        path = tmp_path / "buildings.gpkg"
        engine(finds(3))
        run(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        engine(
            'for request in requests(): say("error", id=request["id"], code="model_file", message="The model is torn.", '
            'hint="Get another.")'
        )
        words = failure(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        assert "The model is torn. Get another." in words
        assert count(path) == 3

    @pytest.mark.parametrize("name", ["full.csv", "full.gpkg"])
    def test_a_disk_that_is_full_at_the_end_costs_neither_the_old_nor_the_new(self, engine, scene, tmp_path, monkeypatch, name):
        path = tmp_path / name
        engine(finds(3))
        run(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        engine(finds(5))
        monkeypatch.setattr(QgsFeatureSink, "addFeatures", lambda *arguments: False)
        words = failure(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)})
        kept = words.rpartition("are kept in ")[2].strip().splitlines()[0].removesuffix(".")
        assert (count(kept), count(path)) == (5, 3)

    def test_no_half_of_a_layer_is_left_in_a_geopackage(self, engine, scene, register, monkeypatch):
        engine(finds(5))
        monkeypatch.setattr(QgsFeatureSink, "addFeatures", lambda *arguments: False)
        failure(DETECT, {"INPUT": str(scene), "OUTPUT": layer_output(str(register), "buildings")})
        assert layers_of(str(register)) == ["parcels", "roads"]


_TAKES_THE_NAME = """
with sqlite3.connect({register!r}) as database:
    database.execute("CREATE TABLE buildings (fid INTEGER PRIMARY KEY)")
    database.execute("INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES "
                     "('buildings', 'attributes', 'buildings')")
"""
