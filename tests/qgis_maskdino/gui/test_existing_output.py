"""A typed output: what is refused while it is typed, and what is asked where there is something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from qgis.core import QgsProject, QgsVectorLayer
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox

from qgis_maskdino.gui.existing_output import ExistingOutputDialog
from qgis_maskdino.jobs.queue import JobState
from qgis_maskdino.layers.output_file import layers_of
from tests.qgis_maskdino.gui.panel_window import DETECTS, DETECTS_UNTIL_CANCELLED, wait_for, write_buildings

pytestmark = pytest.mark.usefixtures("provider")

FIELDS = ["score", "area_m2"]


@pytest.fixture
def page(dock, town, fake):
    fake(DETECTS, count=5)
    return dock.detect_page


@pytest.fixture
def register(tmp_path) -> Path:
    """A GeoPackage of somebody else's: its layer is called `buildings`, not as its file."""
    return write_buildings(tmp_path / "register.gpkg", 3, scores=False)


@pytest.fixture
def answering(monkeypatch):
    """Answer the dialog as a person would; return the dialogs that were shown."""
    shown = []

    def install(answer):
        def execute(dialog):
            shown.append(dialog)
            return QDialog.DialogCode.Accepted if answer(dialog) else QDialog.DialogCode.Rejected

        monkeypatch.setattr(ExistingOutputDialog, "exec", execute)
        return shown

    return install


def pick(name: str):
    def answer(dialog) -> bool:
        button = getattr(dialog, name)
        assert button.isEnabled()
        button.setChecked(True)
        return True

    return answer


def features(source: Path | str) -> int:
    return QgsVectorLayer(str(source), "count", "ogr").featureCount()


def start(page, path: Path) -> None:
    page.output.setFilePath(str(path))
    page.run_button.click()


class TestAsking:
    def test_nothing_is_asked_where_there_is_nothing(self, page, ended, answering, tmp_path):
        shown = answering(lambda dialog: False)
        start(page, tmp_path / "new.gpkg")
        wait_for(lambda: ended)
        assert (ended[0].error, shown) == (None, [])

    def test_who_would_rather_not_has_lost_nothing(self, page, dock, answering, register):
        before = register.read_bytes()
        shown = answering(lambda dialog: False)
        start(page, register)
        (dialog,) = shown
        assert "It holds: buildings." in dialog.text.text()
        assert dock.queue.running is None
        assert register.read_bytes() == before

    def test_a_layer_is_added(self, page, ended, answering, register):
        def name_it(dialog) -> bool:
            assert dialog.add.isChecked() and dialog.layer_name.text() == "buildings_2"  # one is there
            dialog.layer_name.setText("found here")
            return True

        answering(name_it)
        start(page, register)
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        assert ended[0].layer.featureCount() == 5
        assert layers_of(str(register)) == ["buildings", "found here"]
        assert features(f"{register}|layername=buildings") == 3

    def test_a_name_that_is_taken_is_not_accepted(self, page, register):
        dialog = ExistingOutputDialog(str(register), page, fields=FIELDS)
        accept = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
        assert accept.isEnabled()
        dialog.layer_name.setText("Buildings")
        assert not accept.isEnabled() and "already" in dialog.reason.text()
        dialog.beside.setChecked(True)
        assert accept.isEnabled()

    def test_it_is_written_beside(self, page, ended, answering, register):
        answering(pick("beside"))
        start(page, register)
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        assert (features(register), features(register.with_name("register_2.gpkg"))) == (3, 5)

    def test_all_of_it_is_replaced_where_that_is_meant(self, page, ended, answering, register):
        answering(pick("replace"))
        start(page, register)
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        assert layers_of(str(register)) == ["register"]
        assert features(register) == 5

    def test_a_file_that_the_project_uses_cannot_be_replaced(self, page, register):
        QgsProject.instance().addMapLayer(QgsVectorLayer(str(register), "Surveyed", "ogr"))
        dialog = ExistingOutputDialog(str(register), page, fields=FIELDS)
        assert not dialog.replace.isEnabled()
        assert "The project uses it in: Surveyed" in dialog.text.text()

    def test_a_file_of_one_layer_is_not_offered_another(self, page, tmp_path):
        path = write_buildings(tmp_path / "found.geojson", 2)
        dialog = ExistingOutputDialog(str(path), page, fields=FIELDS)
        assert dialog.add.isHidden() and dialog.beside.isChecked() and dialog.replace.isEnabled()


class TestAppending:
    @pytest.fixture
    def district(self, tmp_path) -> Path:
        """What an earlier run found on the sheet beside."""
        return write_buildings(tmp_path / "district.gpkg", 3, shift=200)

    def test_buildings_are_added_to_a_layer_that_the_project_shows(self, page, ended, answering, district):
        shown = QgsVectorLayer(f"{district}|layername=buildings", "District", "ogr")
        QgsProject.instance().addMapLayer(shown)
        count, east = shown.featureCount(), shown.extent().xMaximum()
        answering(pick("append"))
        start(page, district)
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        assert (count, features(district), layers_of(str(district))) == (3, 8, ["buildings"])
        assert ended[0].layer is shown and shown.featureCount() == 8 and shown.extent().xMaximum() == east
        assert shown.extent().xMinimum() < 500_100
        assert len(QgsProject.instance().mapLayers()) == 2  # this one and the image
        assert ended[0].summary().startswith("5 buildings appended to District")

    def test_the_layer_comes_into_the_project_where_it_is_not(self, page, ended, answering, district):
        answering(pick("append"))
        start(page, district)
        wait_for(lambda: ended)
        assert (ended[0].layer.name(), ended[0].layer.featureCount()) == ("buildings", 8)

    def test_only_layers_with_the_fields_are_offered(self, page, register):
        dialog = ExistingOutputDialog(str(register), page, fields=FIELDS)
        assert dialog.append.isHidden() and dialog.layer_there.isHidden()

    def test_a_cancelled_detection_appends_nothing_and_shows_what_it_found(self, page, dock, fake, ended, answering, district):
        fake(DETECTS_UNTIL_CANCELLED, count=2)
        answering(pick("append"))
        start(page, district)
        wait_for(lambda: dock.strip.bar.maximum() > 0)
        dock.queue.cancel(dock.queue.running)
        wait_for(lambda: ended)
        assert ended[0].state is JobState.CANCELLED
        assert (features(district), ended[0].layer.featureCount()) == (3, 2)
        assert ended[0].layer.name().endswith("partial")


def test_jobs_that_wait_for_one_another_lose_nothing_of_one_another(page, ended, tmp_path):
    path = tmp_path / "town.gpkg"
    for _ in range(2):
        start(page, path)  # it is not there yet, and nothing is asked
    wait_for(lambda: len(ended) == 2)
    assert [job.error for job in ended] == [None, None]
    assert (features(path), features(tmp_path / "town_2.gpkg")) == (5, 5)
    assert "town_2.gpkg" in ended[1].warnings[0]


class TestWhileItIsTyped:
    def test_a_format_that_holds_no_layer(self, page, tmp_path):
        page.output.setFilePath(str(tmp_path / "out.txt"))
        assert not page.run_button.isEnabled()
        assert "'.txt' is no format" in page.reason.text()
        page.output.setFilePath(str(tmp_path / "out"))
        assert page.run_button.isEnabled()

    def test_a_folder_that_is_not_there(self, page, tmp_path):
        page.output.setFilePath(str(tmp_path / "nowhere" / "out.gpkg"))
        assert "does not exist" in page.reason.text()

    def test_a_place_that_cannot_be_written(self, page, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
        page.output.setFilePath(str(tmp_path / "out.gpkg"))
        assert "permission denied" in page.reason.text()
        assert not page.run_button.isEnabled()

    def test_a_relative_path_stands_beside_the_project(self, page, ended, tmp_path):
        page.output.setFilePath("out.gpkg")
        assert "save the project" in page.reason.text()
        folder = tmp_path / "project"
        folder.mkdir()
        QgsProject.instance().write(str(folder / "town.qgs"))
        page.refresh()
        page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        assert features(folder / "out.gpkg") == 5
