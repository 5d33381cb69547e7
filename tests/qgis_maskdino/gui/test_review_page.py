"""The page that reviews, as people use it: the keys in map and panel, the slider, saving, handing over to Export."""

from __future__ import annotations

import pytest
from qgis.core import QgsProject, QgsVectorLayer
from qgis.gui import QgsRubberBand
from qgis.PyQt.QtCore import QCoreApplication, QEvent, Qt
from qgis.PyQt.QtGui import QKeyEvent, QKeySequence
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QFileDialog, QMessageBox, QShortcut

from qgis_maskdino.layers.detections import mark_as_detections
from qgis_maskdino.layers.results import open_result
from qgis_maskdino.layers.style import DETECTIONS, apply_style
from tests.qgis_maskdino.gui.panel_window import let_go, wait_for
from tests.qgis_maskdino.review.review_layers import file_layer, in_project, memory_layer, statuses

pytestmark = pytest.mark.usefixtures("provider")

SCORES = (0.9, 0.55, 0.3, 0.7, 0.5, 0.1)


@pytest.fixture
def layer(tmp_path) -> QgsVectorLayer:
    layer = file_layer(tmp_path / "found.gpkg", SCORES)
    mark_as_detections(layer)
    apply_style(layer, DETECTIONS)
    return in_project(layer)


@pytest.fixture
def asked(monkeypatch):
    """The questions that were asked; they are answered with Yes."""
    questions = []

    def question(parent, title, text, buttons):
        questions.append(text)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", question)
    return questions


@pytest.fixture
def page(dock, layer, asked):
    dock.tabs.setCurrentWidget(dock.review_page)
    dock.setUserVisible(True)
    return dock.review_page


@pytest.fixture
def started(page):
    page.run_button.click()
    assert page.review is not None, page.said.text()
    return page


def bands(canvas) -> list[QgsRubberBand]:
    return [item for item in canvas.scene().items() if isinstance(item, QgsRubberBand) and item.numberOfVertices()]


def test_the_newest_detections_are_proposed_and_the_field_is_added_once_after_asking(page, layer, asked):
    assert page.detections.currentLayer() is layer and page.score_field.currentField() == "score"
    page.run_button.click()
    page.run_button.click()
    page.run_button.click()
    assert len(asked) == 1 and "'status'" in asked[0]
    assert [field.name() for field in layer.fields()] == ["fid", "score", "status"]
    assert page.controls.isVisible()


def test_who_says_no_keeps_the_layer_as_it_is(page, layer, monkeypatch):
    monkeypatch.setattr(QMessageBox, "question", lambda *asked: QMessageBox.StandardButton.Cancel)
    page.run_button.click()
    assert page.review is None and page.controls.isHidden()
    assert [field.name() for field in layer.fields()] == ["fid", "score"]


def test_any_layer_with_numbers_will_do(page):
    layer = in_project(memory_layer([20, 80, 50], fields="field=sure:integer"))
    page.detections.setLayer(layer)
    page.score_field.setField("sure")
    page.run_button.click()
    assert (page.score.minimum(), page.score.maximum(), page.count.text()) == (20, 80, "3 of 3 shown")
    page.slider.setValue(50)
    assert page.score.value() == 50 and page.count.text() == "2 of 3 shown"


@pytest.mark.parametrize("place", ["map", "panel"])
def test_the_keys_work_in_the_map_and_in_the_panel(started, layer, iface, place):
    target = iface.mapCanvas() if place == "map" else started.next_button
    for key in (Qt.Key.Key_N, Qt.Key.Key_A, Qt.Key.Key_R, Qt.Key.Key_N, Qt.Key.Key_R):
        QTest.keyClick(target, key)
    assert statuses(layer) == {0.1: None, 0.3: None, 0.5: "accepted", 0.55: "rejected", 0.7: None, 0.9: "rejected"}
    assert started.progress.format() == "3 of 4 reviewed" and started.progress.value() == 3
    QTest.keyClick(target, Qt.Key.Key_Z)
    assert statuses(layer)[0.9] is None
    assert started.current.text() == "Score 0.90, open"


def test_the_keys_are_the_maps_own_when_there_is_nothing_to_review(started, layer, dock, iface):
    def press():
        for key in (Qt.Key.Key_N, Qt.Key.Key_A):
            QTest.keyClick(iface.mapCanvas(), key)

    QTest.keyClick(iface.mapCanvas(), Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    dock.tabs.setCurrentWidget(dock.detect_page)
    press()
    dock.tabs.setCurrentWidget(started)
    started.run_button.click()
    press()
    assert set(statuses(layer).values()) == {None}


def test_a_shortcut_of_qgis_with_the_same_key_waits_until_the_review_ends(started, layer, iface):
    """QGIS has one: R is stream digitizing."""
    pressed = []
    shortcut = QShortcut(QKeySequence("R"), iface.mainWindow())
    shortcut.activated.connect(lambda: pressed.append("R"))
    iface.mainWindow().activateWindow()
    wait_for(iface.mainWindow().isActiveWindow)
    started.next_button.click()
    QTest.keyClick(iface.mapCanvas(), Qt.Key.Key_R)
    assert pressed == [] and statuses(layer)[0.5] == "rejected"
    started.run_button.click()
    QTest.keyClick(iface.mapCanvas(), Qt.Key.Key_R)
    assert pressed == ["R"]


def test_a_key_that_is_held_down_decides_once(started, layer, iface):
    started.next_button.click()
    for held in (False, True, True):
        event = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_A, Qt.KeyboardModifier.NoModifier, "a", held)
        QCoreApplication.sendEvent(iface.mapCanvas(), event)
    assert list(statuses(layer).values()).count("accepted") == 1


def test_the_current_one_is_outlined_and_in_view(started, layer, iface):
    canvas = iface.mapCanvas()
    assert bands(canvas) == []
    started.next_button.click()
    (first,) = bands(canvas)
    box = started.review.feature().geometry().boundingBox()
    assert first.asGeometry().boundingBox() == box and canvas.extent().contains(box)
    assert canvas.extent().width() < 100
    started.accept_button.click()
    (second,) = bands(canvas)
    assert second.asGeometry().boundingBox() == started.review.feature().geometry().boundingBox() != box
    started.run_button.click()
    assert bands(canvas) == []


def test_the_slider_shows_more_or_less_and_restarts_with_the_one_in_most_doubt(started):
    assert started.count.text() == "4 of 6 shown" and started.slider.value() == 50
    started.slider.setValue(20)
    assert started.score.value() == 0.2 and started.count.text() == "5 of 6 shown"
    assert not started.accept_button.isEnabled()
    started.next_button.click()
    assert started.current.text() == "Score 0.30, open"
    started.score.setValue(0.95)
    assert started.slider.value() == 95 and started.current.text() == "Nothing has a score as high as this."
    assert not started.next_button.isEnabled()


def test_the_end_is_told(started):
    started.next_button.click()
    for _ in range(4):
        started.accept_button.click()
    assert started.current.text().startswith("All that is shown is reviewed")
    assert started.progress.value() == started.progress.maximum() == 4
    assert not started.accept_button.isEnabled() and started.undo_button.isEnabled()


def test_what_was_accepted_is_saved(started, layer, tmp_path, monkeypatch):
    assert not started.save_button.isEnabled()
    started.next_button.click()
    started.accept_button.click()
    path = tmp_path / "kept.gpkg"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *asked, **options: (str(tmp_path / "kept"), ""))
    started.save_button.click()
    (saved,) = QgsProject.instance().mapLayersByName("Accepted of buildings")
    assert saved.featureCount() == 1 and saved.source().startswith(str(path))
    before = path.read_bytes()
    started.save_button.click()
    assert "exists already" in started.said.text() and path.read_bytes() == before
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *asked, **options: (str(tmp_path / "kept.shp"), ""))
    started.save_button.click()
    assert "no GeoPackage" in started.said.text()


def test_accepted_ones_go_to_export_in_one_click(started, dock, town):
    started.next_button.click()
    started.accept_button.click()
    started.train_button.click()
    page = dock.export_page
    assert dock.tabs.currentWidget() is page
    assert page.annotations.currentLayer().name() == "Accepted of buildings"
    assert page.annotations.currentLayer().featureCount() == 1
    assert not page.caution.isVisible()


def test_with_those_that_nobody_looked_at_export_warns(started, dock, town):
    started.with_open.setChecked(True)
    started.train_button.click()
    assert dock.export_page.annotations.currentLayer().featureCount() == 4
    assert dock.export_page.caution.isVisible()


def test_a_layer_that_goes_ends_the_review_with_a_sentence(started, layer, iface):
    started.next_button.click()
    QgsProject.instance().removeMapLayer(layer.id())
    let_go()
    assert started.review is None and bands(iface.mapCanvas()) == []
    assert "its layer was removed" in started.said.text()
    assert started.controls.isHidden()
    QTest.keyClick(iface.mapCanvas(), Qt.Key.Key_A)


def test_closing_the_panel_gives_the_layer_its_style_back(started, layer):
    assert layer.renderer().type() == "RuleRenderer"
    started.close_down()
    assert layer.renderer().type() == "graduatedSymbol"


def test_what_cannot_be_reviewed_is_told(page, tmp_path):
    layer = in_project(file_layer(tmp_path / "found.fgb", SCORES, driver="FlatGeobuf"))
    page.detections.setLayer(layer)
    page.run_button.click()
    assert page.review is None and "Export the layer to a GeoPackage" in page.said.text()


def test_a_layer_in_an_edit_session_is_left_alone(page, layer):
    layer.startEditing()
    page.run_button.click()
    assert page.review is None and "Save or discard" in page.said.text()
    layer.rollBack()
    page.run_button.click()
    assert page.review is not None
    page.run_button.click()
    assert open_result(layer.source(), name="again").fields().indexOf("status") > 0
