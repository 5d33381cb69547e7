"""What becomes of the buildings between engine and output, with an engine that answers as the test wants."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsProperty,
    QgsRasterLayer,
    QgsRemappingSinkDefinition,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QTimer

from qgis_maskdino import settings
from tests.qgis_maskdino.processing.algorithm_runs import Feedback, Run, failure, process_events, run
from tests.qgis_maskdino.processing.finding_engine import finds

pytestmark = pytest.mark.usefixtures("provider")

DETECT = "maskdino:detectbuildings"


def test_the_engine_hears_the_arguments_by_their_names(engine, scene, tmp_path):
    told = tmp_path / "told.json"
    engine(finds(1, told=told))
    parameters = {
        "INPUT": str(scene), "SCORE": 0.25, "GSD": 0.4, "MIN_AREA": 7, "OUTLINE": "raw", "DEVICE": "cpu",
        "BANDS": [3, 2, 1], "EXTENT": "500010,500050,4999950,4999990 [EPSG:32633]", "OUTPUT": "memory:",
    }  # fmt: skip
    run(DETECT, parameters)
    request = json.loads(told.read_text())
    output = request["arguments"].pop("output")
    assert output.endswith(".gpkg")
    assert not Path(output).exists()  # it was a place in between
    assert request["command"] == "detect"
    assert request["arguments"] == {
        "raster": str(scene), "model": "maskdino_lite", "score": 0.25, "gsd": 0.4, "min_area": 7.0, "outline": "raw",
        "device": "cpu", "bands": [3, 2, 1], "extent": [500010.0, 4999950.0, 500050.0, 4999990.0],
    }  # fmt: skip


def test_what_is_not_given_is_left_to_the_engine(engine, scene, tmp_path):
    told = tmp_path / "told.json"
    engine(finds(1, told=told))
    run(DETECT, {"INPUT": str(scene), "OUTPUT": "memory:"})
    arguments = json.loads(told.read_text())["arguments"]
    assert arguments.keys() == {"raster", "output", "model", "score", "outline", "device"}


OF_CLASSES = """
for request in requests():
    arguments = request["arguments"]
    find(arguments["output"], 6, arguments["classes"].split(","))
    say("result", id=request["id"], output=arguments["output"], layer="instances", buildings=6, area_m2=150.0,
        megapixels=1.0, device="cpu", cancelled=False)
"""


@pytest.mark.parametrize("output", ["memory:", "out.gpkg"])
def test_objects_of_several_classes_come_with_their_class(engine, scene, tmp_path, output):
    engine(OF_CLASSES)
    output = output if output.endswith(":") else str(tmp_path / output)
    done = run(DETECT, {"INPUT": str(scene), "CLASSES": " car,big truck ", "OUTPUT": output})
    layer = done.layer()
    assert [field.name() for field in layer.fields() if field.name() != "fid"] == ["score", "class", "area_m2"]
    assert [feature["class"] for feature in layer.getFeatures()] == 3 * ["car", "big truck"]
    assert any("6 objects in" in line for line in done.feedback.said)


def test_a_model_of_the_users_folder_goes_by_its_path(engine, scene, tmp_path):
    told = tmp_path / "told.json"
    engine(finds(1, told=told))
    (tmp_path / "our town.safetensors").touch()
    before = settings.model_folder()
    settings.set_model_folder(str(tmp_path))
    try:
        run(DETECT, {"INPUT": str(scene), "MODEL": "our town", "OUTPUT": "memory:"})
    finally:
        settings.set_model_folder(before)
    assert json.loads(told.read_text())["arguments"]["model"] == str(tmp_path / "our town.safetensors")


def test_an_area_goes_as_a_file_of_its_own(engine, scene, tmp_path):
    told = tmp_path / "told.json"
    engine(finds(1, told=told))
    area = tmp_path / "area.geojson"
    area.write_text(
        '{"type":"Polygon","coordinates":[[[15.0001,45.1539],[15.0005,45.1539],[15.0005,45.1535],[15.0001,45.1539]]]}'
    )
    run(DETECT, {"INPUT": str(scene), "AOI": str(area), "OUTPUT": "memory:"})
    arguments = json.loads(told.read_text())["arguments"]
    assert arguments["aoi"].endswith(".gpkg")
    assert "extent" not in arguments


@pytest.mark.parametrize("name", ["buildings.gpkg", "bâtiments.shp", "out.geojson", "out.fgb"])
def test_any_format_will_do(engine, scene, tmp_path, name):
    engine(finds(3))
    done = run(DETECT, {"INPUT": str(scene), "OUTPUT": str(tmp_path / name)})
    layer = done.layer()
    assert layer.featureCount() == done.results["COUNT"] == 3
    assert {"score", "area_m2"} <= {field.name() for field in layer.fields()}


def test_buildings_are_appended_to_a_layer_with_other_fields(engine, scene, tmp_path):
    engine(finds(4))
    path = tmp_path / "register.gpkg"
    empty = QgsVectorLayer("Polygon?crs=EPSG:32633&field=certainty:double&field=surveyor:string", "register", "memory")
    options = QgsVectorFileWriter.SaveVectorOptions()
    QgsVectorFileWriter.writeAsVectorFormatV3(empty, str(path), QgsProject.instance().transformContext(), options)
    register = QgsVectorLayer(str(path), "register", "ogr")
    mapping = QgsRemappingSinkDefinition()
    mapping.setDestinationFields(register.fields())
    mapping.setDestinationCrs(register.crs())
    mapping.setDestinationWkbType(register.wkbType())
    mapping.addMappedField("certainty", QgsProperty.fromExpression('"score"'))
    destination = QgsProcessingOutputLayerDefinition(str(path))
    destination.setRemappingDefinition(mapping)
    run(DETECT, {"INPUT": str(scene), "OUTPUT": destination})
    run(DETECT, {"INPUT": str(scene), "OUTPUT": destination})
    rows = list(QgsVectorLayer(str(path), "after", "ogr").getFeatures())
    assert [row["certainty"] for row in rows] == [0.9] * 8


def test_options_of_the_command_line_are_called_what_the_dialog_calls_them(engine, scene):
    engine("""
for request in requests():
    say("error", id=request["id"], code="raster_fit", message="scene.tif is too coarse.",
        hint="Give a finer one, or look at it with --gsd 0.6; --min-area helps, --of-others does not.")
""")
    words = failure(DETECT, {"INPUT": str(scene), "OUTPUT": "memory:"})
    assert "with 'Ground sampling distance' 0.6; 'Smallest area' helps, --of-others does not." in words


def test_an_engine_that_dies_is_told_of_with_its_last_words(engine, scene):
    engine('for request in requests(): sys.stderr.write("something tore\\n"); sys.stderr.flush(); os._exit(3)')
    words = failure(DETECT, {"INPUT": str(scene), "OUTPUT": "memory:"})
    assert "The engine ended with status 3" in words
    assert "something tore" in words


def test_an_engine_that_the_system_kills_is_explained(engine, scene):
    engine("for request in requests(): os.kill(os.getpid(), signal.SIGKILL)")
    words = failure(DETECT, {"INPUT": str(scene), "OUTPUT": "memory:"})
    assert "killed by the system, most likely because the memory ran out" in words


def test_an_engine_of_another_version_is_refused(engine, scene):
    engine("time.sleep(60)", hello='say("hello", protocol=99, version="9.0")\n')
    words = failure(DETECT, {"INPUT": str(scene), "OUTPUT": "memory:"})
    assert "version 9.0" in words
    assert "Repair the engine" in words


def test_a_cancelled_run_brings_what_it_had_found(engine, scene, tmp_path):
    engine("""
for request in requests():
    if request["command"] == "cancel":
        find(output, 7)
        say("cancelled", id=number, output=output, buildings=7, area_m2=175.0, megapixels=0.1, device="cpu", cancelled=True)
        continue
    number, output = request["id"], request["arguments"]["output"]
    say("progress", id=number, done=5, total=10, unit="tiles", buildings=7, device="cpu")
""")
    feedback = Feedback(cancel_at=lambda progress: progress >= 49)
    path = tmp_path / "part.gpkg"
    started = Run(DETECT, {"INPUT": str(scene), "OUTPUT": str(path)}, feedback)
    process_events(lambda: started.ok is not None, 30)
    assert QgsVectorLayer(str(path), "part", "ogr").featureCount() == 7
    assert any("Cancelled" in line for line in feedback.warned)


def test_the_layer_may_be_removed_while_the_run_lasts(engine, scene, tmp_path):
    engine(f"""
for request in requests():
    say("progress", id=request["id"], done=1, total=2, unit="tiles", buildings=0, device="cpu")
    while not os.path.exists({str(tmp_path / "go")!r}):
        time.sleep(0.02)
    find(request["arguments"]["output"], 2)
    say("result", id=request["id"], output=request["arguments"]["output"], buildings=2, area_m2=50.0, device="cpu")
""")
    layer = QgsRasterLayer(str(scene), "scene")
    QgsProject.instance().addMapLayer(layer)
    started = Run(DETECT, {"INPUT": layer.id(), "OUTPUT": "memory:"})
    process_events(lambda: started.feedback.progress() > 0, 30)
    QgsProject.instance().removeMapLayer(layer.id())
    (tmp_path / "go").touch()
    assert started.wait()["COUNT"] == 2


def test_an_engine_that_cannot_open_the_file_gets_it_from_qgis(engine, scene):
    """Its GDAL may lack a driver that QGIS's has."""
    engine("""
for request in requests():
    arguments = request["arguments"]
    if request["command"] == "models":
        say("result", id=request["id"], tile_size=256, gsd=0.3)
    elif not arguments["raster"].endswith("layer.tif"):
        say("error", id=request["id"], code="raster", message="scene.tif cannot be opened as a raster: no such driver.")
    else:
        find(arguments["output"], os.path.getsize(arguments["raster"]) > 1000)
        say("result", id=request["id"], output=arguments["output"], buildings=1, area_m2=25.0, device="cpu")
""")
    done = run(DETECT, {"INPUT": str(scene), "OUTPUT": "memory:"})
    assert done.results["COUNT"] == 1
    assert any("no such driver" in line for line in done.feedback.warned)


@pytest.fixture
def downloads(tmp_path, monkeypatch) -> Path:
    """The folder of downloads, of a user of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "user-dirs.dirs").write_text('XDG_DOWNLOAD_DIR="$HOME/Geladenes"\n')
    (tmp_path / "Geladenes").mkdir()
    return tmp_path / "Geladenes"


def test_a_downloaded_raster_stays_in_its_folder(downloads, scene, tmp_path):
    """The real engine refuses it, and QGIS does not hand over what the engine must not read."""
    shutil.copy(scene, downloads / "beside.tif")
    mosaics = {}
    for folder, source in ((downloads, scene), (downloads, downloads / "beside.tif"), (tmp_path, scene)):
        path = mosaics[folder, source] = folder / f"{source.stem}.vrt"
        gdal.Translate(str(path), str(source), format="VRT")
    words = failure(DETECT, {"INPUT": str(mosaics[downloads, scene]), "OUTPUT": "memory:"})
    assert f"lies among your downloads and reads from the network or from other folders: scene.vrt reads from {scene}" in words
    assert "If you trust it, move it to another folder." in words and "--local-only" not in words
    for path in (mosaics[downloads, downloads / "beside.tif"], mosaics[tmp_path, scene]):
        assert run(DETECT, {"INPUT": str(path), "OUTPUT": "memory:"}).results["COUNT"] >= 0


@pytest.mark.slow
def test_a_hundred_thousand_buildings_arrive_without_freezing_the_window(engine, scene, tmp_path):
    engine(finds(100_000))
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(20)
    done = run(DETECT, {"INPUT": str(scene), "OUTPUT": str(tmp_path / "town.gpkg")})
    timer.stop()
    assert done.layer().featureCount() == 100_000
    longest = max(after - before for before, after in itertools.pairwise(ticks))
    # People call a window frozen after some seconds; the thread must let it have its turn long before that.
    assert longest < 1.0


@pytest.mark.parametrize("time", ["first", "second"])  # QGIS deletes what was for the first when its dialog is closed
def test_the_style_is_applied_when_the_layer_is_loaded(engine, scene, time):
    engine(finds(2))
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    destination = QgsProcessingOutputLayerDefinition("memory:", QgsProject.instance())
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(DETECT)
    results, ok = algorithm.run({"INPUT": str(scene), "OUTPUT": destination}, context, Feedback())
    assert ok
    details = context.layerToLoadOnCompletionDetails(results["OUTPUT"])
    del algorithm  # the dialog does not keep it either
    layer = context.takeResultLayer(results["OUTPUT"])
    details.postProcessor().postProcessLayer(layer, context, Feedback())
    assert layer.renderer().type() == "graduatedSymbol"
    assert layer.renderer().classAttribute() == "score"
    assert layer.crs() == QgsCoordinateReferenceSystem("EPSG:32633")


def test_without_an_engine_it_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("MASKDINO_PYTHON")
    monkeypatch.setenv("MASKDINO_ENVIRONMENT", str(tmp_path / "none"))
    for name in ("detectbuildings", "evaluatedetections", "exporttrainingdata", "trainmodel"):
        able, why_not = QgsApplication.processingRegistry().algorithmById(f"maskdino:{name}").canExecute()
        assert not able
        assert "Install" in why_not
