"""``maskdino:exporttrainingdata`` and ``maskdino:trainmodel``: from a layer to tiles, from tiles to a model file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
)

from qgis_maskdino.backend.environment import EngineEnvironment
from tests.qgis_maskdino.fake_engine import fake_engine
from tests.qgis_maskdino.processing.algorithm_runs import Feedback, Run, polygon_layer, process_events, refusal, run
from tests.qgis_maskdino.tile_server import TileServer

pytestmark = pytest.mark.usefixtures("provider")

EXPORT, TRAIN = "maskdino:exporttrainingdata", "maskdino:trainmodel"
UTM = QgsCoordinateReferenceSystem("EPSG:32633")


@pytest.fixture
def roofs():
    """The twelve roofs of the scene as annotations, in another CRS."""
    transform = QgsCoordinateTransform(UTM, QgsCoordinateReferenceSystem("EPSG:3857"), QgsProject.instance())
    outlines = []
    for top in range(20, 260, 60):
        for left in range(40, 260, 90):
            west, north = 500_000 + left * 0.3, 5_000_000 - top * 0.3
            outline = QgsGeometry.fromRect(QgsRectangle(west, north - 36 * 0.3, west + 54 * 0.3, north))
            outline.transform(transform)
            outlines.append(outline.asWkt())
    layer = polygon_layer("EPSG:3857", *outlines)
    QgsProject.instance().addMapLayer(layer)
    yield layer
    QgsProject.instance().removeMapLayer(layer.id())


def annotations(folder: Path) -> dict:
    return json.loads((folder / "annotation.json").read_text(encoding="utf-8"))


class TestExport:
    def test_a_split_shares_no_ground(self, scene, roofs, tmp_path):
        folder = tmp_path / "Daten für das Training"
        done = run(EXPORT, {"INPUT": str(scene), "ANNOTATIONS": roofs.id(), "TILE_SIZE": 64, "OUTPUT": str(folder)})
        sides = {side: annotations(folder / side) for side in ("train", "val")}
        assert done.results["IMAGES"] == sum(len(side["images"]) for side in sides.values())
        assert done.results["FOOTPRINTS"] == sum(len(side["annotations"]) for side in sides.values()) > 0
        boxes = {side: [QgsRectangle(*image["bounds"]) for image in found["images"]] for side, found in sides.items()}
        assert not any(one.intersects(other) for one in boxes["train"] for other in boxes["val"])

    def test_without_a_split_all_lies_in_one_folder(self, scene, roofs):
        parameters = {"INPUT": str(scene), "ANNOTATIONS": roofs.id(), "SPLIT": False, "TILE_SIZE": 300}
        done = run(EXPORT, {**parameters, "OUTPUT": "TEMPORARY_OUTPUT"})
        assert done.results["IMAGES"] == 1
        areas = [found["area"] for found in annotations(Path(done.results["OUTPUT"]))["annotations"]]
        assert areas == pytest.approx([54 * 36] * 12, rel=0.02)

    def test_a_web_map_is_fetched_where_the_annotations_are(self, scene, roofs, tmp_path):
        with TileServer(scene) as server:
            layer = QgsRasterLayer(server.source, "web map", "wms")
            QgsProject.instance().addMapLayer(layer)
            parameters = {"INPUT": layer.id(), "ANNOTATIONS": roofs.id(), "SPLIT": False, "TILE_SIZE": 300, "GSD": 0.3}
            run(EXPORT, {**parameters, "OUTPUT": str(tmp_path / "data")})
            QgsProject.instance().removeMapLayer(layer.id())
        found = annotations(tmp_path / "data")["annotations"]
        assert sum(annotation["area"] for annotation in found) == pytest.approx(12 * 54 * 36, rel=0.1)

    def test_a_web_map_is_fetched_around_the_selected_annotations_alone(self, scene, roofs, tmp_path):
        roofs.selectByIds([1, 2])  # the two in the top left corner, 18 m from one another
        with TileServer(scene) as server:
            layer = QgsRasterLayer(server.source, "web map", "wms")
            QgsProject.instance().addMapLayer(layer)
            run(
                EXPORT,
                {
                    "INPUT": layer.id(),
                    "ANNOTATIONS": QgsProcessingFeatureSourceDefinition(roofs.id(), selectedFeaturesOnly=True),
                    "SPLIT": False,
                    "TILE_SIZE": 32,
                    "GSD": 0.3,
                    "OUTPUT": str(tmp_path / "data"),
                },
            )
            QgsProject.instance().removeMapLayer(layer.id())
        images = annotations(tmp_path / "data")["images"]
        ground = QgsRectangle()
        ground.setMinimal()
        for image in images:
            ground.combineExtentWith(QgsRectangle(*image["bounds"]))
        # Both roofs and the street between them: 43.2 x 10.8 m on the ground, stretched by the latitude in web mercator.
        assert ground.width() < 1.5 * 43.2 / 0.705
        assert ground.height() < 2.0 * 10.8 / 0.705

    def test_a_folder_with_something_in_it_is_refused(self, scene, roofs, tmp_path):
        (tmp_path / "old.txt").touch()
        parameters = {"INPUT": str(scene), "ANNOTATIONS": roofs.id(), "OUTPUT": str(tmp_path)}
        assert "is not empty" in refusal(EXPORT, parameters)

    def test_two_bands_are_refused(self, scene, roofs, tmp_path):
        parameters = {"INPUT": str(scene), "ANNOTATIONS": roofs.id(), "BANDS": [1, 2], "OUTPUT": str(tmp_path / "data")}
        assert "2 bands were chosen" in refusal(EXPORT, parameters)


class TestTrain:
    @pytest.fixture
    def dataset(self, tmp_path):
        for side in ("train", "val"):
            (tmp_path / "data é" / side).mkdir(parents=True)
        return tmp_path / "data é"

    @pytest.fixture
    def engine(self, tmp_path, monkeypatch):
        def install(behaviour: str) -> None:
            sources = fake_engine(tmp_path / "fake", behaviour)
            monkeypatch.setenv("MASKDINO_PYTHON", sys.executable)
            monkeypatch.setattr(EngineEnvironment, "source_folder", lambda self: sources)

        return install

    def test_the_engine_hears_of_data_model_and_changes(self, engine, dataset, tmp_path):
        told = tmp_path / "told.json"
        engine(f"""
for request in requests():
    open({str(told)!r}, "w").write(json.dumps(request))
    say("progress", id=request["id"], done=1, total=4, unit="steps", seconds_left=9.0, note="loss 2.5, AP50 0.1")
    say("result", id=request["id"], model="/runs/new.safetensors", folder="/runs", steps=4, seconds=8.0,
        figures={{"AP50": 0.5}})
""")
        done = run(
            TRAIN,
            {
                "DATASET": str(dataset), "EPOCHS": 3, "NAME": "our town", "BATCH_SIZE": 2, "LEARNING_RATE": 0.0002,
                "DEVICE": "cpu", "OVERRIDES": "data.size=128\n\n run.workers=0 ", "OUTPUT": str(tmp_path / "run"),
            },
        )  # fmt: skip
        request = json.loads(told.read_text())
        assert request["command"] == "train"
        assert request["arguments"] == {
            "config": "finetune",
            "output": str(tmp_path / "run"),
            "resume": False,
            "overrides": [
                f"data.sources=[{{kind: coco, folder: {json.dumps(str(dataset / 'train'))}}}]",
                f"data.validation=[{{kind: coco, folder: {json.dumps(str(dataset / 'val'))}}}]",
                'start_from="maskdino_lite"',
                'name="our town"',
                "run.steps=null",
                "run.epochs=3",
                "run.device=cpu",
                "run.batch=2",
                "optimizer.learning_rate=0.0002",
                "data.size=128",
                "run.workers=0",
            ],
        }
        assert any("epoch 0.8 of 3 · loss 2.5, AP50 0.1" in line for line in done.feedback.said)
        assert done.results["TRAINED_MODEL"] == "/runs/new.safetensors"
        assert [done.results[name] for name in ("STEPS", "AP50", "SECONDS")] == [4, 0.5, 8.0]

    def test_a_cancel_says_where_the_checkpoint_is(self, engine, dataset, tmp_path):
        engine("""
for request in requests():
    if request["command"] == "cancel":
        say("cancelled", id=number, message="Cancelled at step 2.")
        continue
    number = request["id"]
    say("progress", id=number, done=2, total=4, unit="steps")
""")
        feedback = Feedback(cancel_at=lambda progress: progress >= 50)
        started = Run(TRAIN, {"DATASET": str(dataset), "OUTPUT": str(tmp_path / "run")}, feedback)
        process_events(lambda: started.ok is not None, 30)
        assert any(str(tmp_path / "run") in line and "Go on with the run" in line for line in feedback.warned)

    def test_data_that_was_not_split_is_refused(self, tmp_path):
        (tmp_path / "images").mkdir()
        why_not = refusal(TRAIN, {"DATASET": str(tmp_path), "OUTPUT": str(tmp_path / "run")})
        assert "no folder 'train'" in why_not
        assert "Split" in why_not

    def test_a_folder_that_goes_with_qgis_is_refused(self, dataset):
        why_not = refusal(TRAIN, {"DATASET": str(dataset), "OUTPUT": "TEMPORARY_OUTPUT"})
        assert "Choose a folder for the run" in why_not

    def test_a_change_without_a_value_is_refused(self, dataset, tmp_path):
        why_not = refusal(TRAIN, {"DATASET": str(dataset), "OVERRIDES": "run.batch", "OUTPUT": str(tmp_path / "run")})
        assert "'run.batch' is no change to a config" in why_not


@pytest.mark.slow
def test_from_a_layer_to_a_model_that_detects(scene, roofs, tmp_path):
    """The whole way with a real engine: tiles, a cancelled run, its end, and a detection with what came out."""
    data, folder = tmp_path / "data", tmp_path / "run"
    run(EXPORT, {"INPUT": str(scene), "ANNOTATIONS": roofs.id(), "TILE_SIZE": 96, "GSD": 0.15, "OUTPUT": str(data)})
    parameters = {
        "DATASET": str(data), "NAME": "town", "EPOCHS": 0.5, "BATCH_SIZE": 2, "DEVICE": "cpu", "OUTPUT": str(folder),
        "OVERRIDES": "data.size=128\nrun.workers=0\nrun.pictures=0\nrun.calibrate=false\nlosses.points=64",
    }  # fmt: skip
    feedback = Feedback(cancel_at=lambda progress: progress > 0)
    started = Run(TRAIN, parameters, feedback)
    process_events(lambda: started.ok is not None, 400)
    assert any("The last checkpoint is in" in line for line in feedback.warned), feedback.said
    assert list((folder / "checkpoints").glob("*.ckpt"))
    done = run(TRAIN, {**parameters, "RESUME": True})
    model = Path(done.results["TRAINED_MODEL"])
    assert model.is_file()
    assert done.results["STEPS"] > 1
    extent = "500009,500032,4999955,4999998 [EPSG:32633]"
    found = run(
        "maskdino:detectbuildings", {"INPUT": str(scene), "EXTENT": extent, "MODEL_FILE": str(model), "OUTPUT": "memory:"}
    )
    assert found.results["COUNT"] == found.layer().featureCount()
