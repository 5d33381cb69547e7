"""The pages that evaluate, export and fine-tune: what they ask the engine for, and what people see of the answer."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtWidgets import QFileDialog

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.jobs.queue import JobState
from qgis_maskdino.layers.detections import mark_as_detections
from tests.qgis_maskdino.fake_engine import fake_engine
from tests.qgis_maskdino.gui.panel_window import wait_for, write_buildings

pytestmark = pytest.mark.usefixtures("provider")

ANSWERS = """
for request in requests():
    with open(ASKED, "w") as file:
        json.dump(request, file)
    say("progress", id=request["id"], done=1, total=2, unit="steps", buildings=None, note="loss 1.25")
    say("result", id=request["id"], **ANSWER)
"""


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """Let a fake engine answer with some fields; return where it writes what it was asked for."""

    def install(answer: dict) -> Path:
        asked = tmp_path / "asked.json"
        sources = fake_engine(tmp_path, f"ASKED, ANSWER = {str(asked)!r}, {answer!r}\n" + ANSWERS)
        monkeypatch.setenv("MASKDINO_PYTHON", sys.executable)
        monkeypatch.setattr(EngineEnvironment, "source_folder", lambda self: sources)
        return asked

    return install


def add_layer(path: Path, name: str) -> QgsVectorLayer:
    layer = QgsVectorLayer(str(path), name, "ogr")
    QgsProject.instance().addMapLayer(layer)
    return layer


class TestEvaluate:
    @pytest.fixture
    def layers(self, tmp_path):
        """Eight detections, of which six hit one of the ten annotations."""
        annotations = write_buildings(tmp_path / "surveyed.gpkg", 10, scores=False)
        found = write_buildings(tmp_path / "found.gpkg", 8)
        # The last two lie where nothing is.
        layer = QgsVectorLayer(str(found), "found", "ogr")
        layer.dataProvider().changeGeometryValues({7: _moved(layer, 7), 8: _moved(layer, 8)})
        del layer
        return add_layer(annotations, "surveyed"), add_layer(found, "found")

    def test_layers_with_and_without_scores_are_suggested_for_their_places(self, dock, layers):
        page = dock.evaluate_page
        dock.tabs.setCurrentWidget(page)
        assert (page.annotations.currentLayer(), page.detections.currentLayer()) == layers
        assert page.run_button.isEnabled()

    def test_layers_that_come_while_the_page_is_open_are_noticed(self, dock, tmp_path):
        page = dock.evaluate_page
        dock.tabs.setCurrentWidget(page)
        found = add_layer(write_buildings(tmp_path / "found.gpkg", 2), "found")
        assert "Two polygon layers" in page.reason.text()
        add_layer(write_buildings(tmp_path / "surveyed.gpkg", 2, scores=False), "surveyed")
        assert page.run_button.isEnabled()
        QgsProject.instance().removeMapLayer(found.id())
        assert not page.run_button.isEnabled()

    def test_the_newest_detections_are_proposed_until_the_user_takes_others(self, dock, layers, tmp_path):
        page = dock.evaluate_page
        newest = QgsVectorLayer(str(write_buildings(tmp_path / "newest.gpkg", 3)), "a later name sorts first", "ogr")
        mark_as_detections(newest)
        QgsProject.instance().addMapLayer(newest)
        assert page.detections.currentLayer() is newest
        assert page.annotations.currentLayer() is layers[0]
        page.detections.setLayer(layers[1])
        add_layer(write_buildings(tmp_path / "parcels.gpkg", 1, scores=False), "parcels")
        assert page.detections.currentLayer() is layers[1]

    def test_a_layer_is_not_judged_by_itself(self, dock, layers):
        page = dock.evaluate_page
        page.annotations.setLayer(layers[1])
        page.detections.setLayer(layers[1])
        assert not page.run_button.isEnabled()
        assert "same layer" in page.reason.text()

    def test_the_report_can_be_kept(self, dock, tmp_path, monkeypatch):
        page = dock.evaluate_page
        report = tmp_path / "evaluation.html"
        report.write_text("<p>figures</p>")
        page._report = str(report)
        kept = tmp_path / "town.html"
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *arguments: (str(kept), ""))
        page.save_button.click()
        assert kept.read_text() == "<p>figures</p>" and str(kept) in page.saved.text()
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *arguments: (str(tmp_path / "no" / "folder.html"), ""))
        page.save_button.click()
        assert "cannot be written" in page.saved.text()

    @pytest.mark.slow
    def test_the_figures_are_those_of_the_engine(self, dock, layers, ended):
        page = dock.evaluate_page
        dock.tabs.setCurrentWidget(page)
        page.run_button.click()
        wait_for(lambda: ended, seconds=120)
        assert ended[0].state is JobState.DONE, ended[0].error
        shown = {page.figures.item(row, 0).text(): page.figures.item(row, 1).text() for row in range(page.figures.rowCount())}
        assert (shown["Precision"], shown["Recall"]) == ("0.75", "0.60")
        assert (shown["Hits"], shown["False detections"], shown["Missed"]) == ("6", "2", "4")
        assert page.report_button.isVisible() and page.save_button.isVisible()
        assert os.path.getsize(ended[0].report) > 1000
        (matches,) = (one for one in QgsProject.instance().mapLayers().values() if one.name() == "Hits and misses: found")
        assert matches.featureCount() == 12
        assert dock.strip.status.text() == "precision 0.75 · recall 0.60 · F1 0.67"


def _moved(layer: QgsVectorLayer, fid: int):
    geometry = layer.getFeature(fid).geometry()
    geometry.translate(0, -60)
    return geometry


class TestExport:
    @pytest.fixture
    def page(self, dock, scene, tmp_path):
        QgsProject.instance().addMapLayer(QgsRasterLayer(str(scene), "town"))
        add_layer(write_buildings(tmp_path / "surveyed.gpkg", 40, scores=False), "surveyed")
        dock.tabs.setCurrentWidget(dock.export_page)
        return dock.export_page

    def test_the_engine_is_asked_for_what_was_entered(self, page, answering, ended, tmp_path):
        asked = answering({"images": {"train": 7, "val": 2}, "annotations": {"train": 30, "val": 9}, "output": "x"})
        page.tile_size.setValue(96)
        page.share.setValue(75)
        page.folder.setFilePath(str(tmp_path / "data set"))
        page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        arguments = json.loads(asked.read_text())["arguments"]
        assert (arguments["tile_size"], arguments["split"]) == (96, 0.75)
        assert arguments["output"] == str(tmp_path / "data set")
        assert page.result.text().startswith("9 tiles with 39 outlines in ")

    def test_detections_are_never_proposed_as_annotations(self, dock, page, tmp_path):
        add_layer(write_buildings(tmp_path / "found.gpkg", 3), "buildings")  # sorts before the others
        assert page.annotations.currentLayer().name() == "surveyed"
        assert not page.caution.isVisible()
        QgsProject.instance().removeMapLayer(page.annotations.currentLayer().id())
        assert page.annotations.currentLayer() is None
        assert "known buildings" in page.reason.text()

    def test_who_chooses_detections_is_told_what_they_are(self, page, tmp_path):
        found = add_layer(write_buildings(tmp_path / "found.gpkg", 3), "buildings")
        page.annotations.setLayer(found)
        page.annotations.activated.emit(page.annotations.currentIndex())  # as a click does
        assert page.caution.isVisible()
        add_layer(write_buildings(tmp_path / "other.gpkg", 3, scores=False), "other")
        assert page.annotations.currentLayer() is found

    def test_a_folder_with_something_in_it_is_not_taken(self, page, tmp_path):
        page.folder.setFilePath(str(tmp_path))
        assert not page.run_button.isEnabled()
        assert "not empty" in page.reason.text()


class TestTrain:
    @pytest.fixture
    def page(self, dock, tmp_path):
        for side in ("train", "val"):
            (tmp_path / "data" / side).mkdir(parents=True)
        dock.tabs.setCurrentWidget(dock.train_page)
        page = dock.train_page
        page.dataset.setFilePath(str(tmp_path / "data"))
        page.folder.setFilePath(str(tmp_path / "run"))
        return page

    def test_the_new_model_can_be_detected_with_at_once(self, dock, page, answering, ended, tmp_path):
        model = tmp_path / "mine.safetensors"
        model.touch()
        asked = answering({"model": str(model), "steps": 40, "seconds": 12.5, "figures": {"AP50": 0.61}, "cancelled": False})
        page.epochs.setValue(3)
        page.name.setText("mine")
        heard = []
        dock.queue.event_received.connect(lambda job, event: heard.append(dock.strip.status.text()))
        page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        assert "run.epochs=3" in json.loads(asked.read_text())["arguments"]["overrides"]
        assert any(line.startswith("1 / 2 steps") and line.endswith("loss 1.25") for line in heard)
        assert page.result.text() == "mine.safetensors · AP50 0.61"
        page.use_button.click()
        assert dock.tabs.currentWidget() is dock.detect_page
        assert dock.detect_page.model.parameters() == {"MODEL_FILE": str(model)}

    def test_a_data_set_without_validation_is_refused_before_it_runs(self, page, tmp_path):
        (tmp_path / "data" / "val").rmdir()
        page.refresh()
        assert not page.run_button.isEnabled()
        assert "train and val" in page.reason.text()
