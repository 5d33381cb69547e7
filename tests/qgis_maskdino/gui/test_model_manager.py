"""The window with the models: what it shows, what comes in, what goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from qgis.PyQt.QtWidgets import QDialog, QFileDialog, QInputDialog, QMessageBox

from qgis_maskdino import settings
from qgis_maskdino.gui.conversion_dialog import ConversionDialog
from qgis_maskdino.gui.model_manager import ModelManager
from qgis_maskdino.jobs.queue import JobState
from tests.qgis_maskdino.gui.panel_window import DETECTS_UNTIL_CANCELLED, wait_for
from tests.qgis_maskdino.published_checkpoint import write_checkpoint

pytestmark = pytest.mark.usefixtures("provider")

LITE = "maskdino_lite"


@pytest.fixture(autouse=True)
def model_folder(tmp_path) -> Path:
    folder = tmp_path / "my models"
    settings.set_model_folder(str(folder))
    return folder


@pytest.fixture
def embedded(project) -> Path:
    """A sound model file."""
    return project / "engine" / "weights" / f"{LITE}.safetensors"


@pytest.fixture
def manager(dock) -> ModelManager:
    dock.detect_page.model.manage_button.click()
    return dock.models


@pytest.fixture
def choose_file(monkeypatch):
    """Let the user choose a file."""
    return lambda path: monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *given, **named: (str(path), ""))


@pytest.fixture
def answer(monkeypatch):
    """Let the user type these names, one after another; None for cancel. Return what they were asked."""
    asked = []

    def install(*names: str | None) -> list[str]:
        answers = iter(names)

        def get_text(parent, title, question, mode, proposed):
            asked.append((question, proposed))
            name = next(answers)
            return ("", False) if name is None else (name, True)

        monkeypatch.setattr(QInputDialog, "getText", get_text)
        return asked

    return install


def models_in_picker(dock) -> list[str]:
    combo = dock.detect_page.model.combo
    return [combo.itemData(row) for row in range(combo.count())]


def bring(manager, path, choose_file, ended):
    before = len(ended)
    choose_file(path)
    manager.import_button.click()
    wait_for(lambda: len(ended) > before)
    return ended[-1]


def test_the_model_of_the_picker_is_shown_with_its_card(manager, embedded):
    assert manager.isVisible() and manager.model() == LITE
    text = manager.card.toPlainText()
    for part in ("building", "0.3 m/px", "F1 0.554", "Banepa", "GPL-3.0-or-later", f"{embedded.stat().st_size / 1e6:.1f} MB"):
        assert part in text
    assert not manager.remove_button.isEnabled()


def test_a_model_file_is_imported_and_can_be_chosen_at_once(dock, manager, choose_file, answer, ended, embedded, model_folder):
    asked = answer("town")
    job = bring(manager, embedded, choose_file, ended)
    assert job.state is JobState.DONE, job.error
    assert asked == [(f"There is a model called {LITE} already. Give another name.", f"{LITE}_2")]
    assert (model_folder / "town.safetensors").read_bytes() == embedded.read_bytes()
    assert [path.name for path in model_folder.iterdir()] == ["town.safetensors"]
    assert manager.model() == "town" and "town" in manager.said.text()
    assert models_in_picker(dock) == [LITE, "town"]
    assert manager.remove_button.isEnabled()


def test_a_name_is_asked_for_until_it_can_be_used(manager, choose_file, answer, ended, embedded, model_folder):
    model_folder.mkdir()
    (model_folder / "town.safetensors").write_bytes(b"mine")
    asked = answer("Town", "a/b", "village")
    assert bring(manager, embedded, choose_file, ended).state is JobState.DONE
    assert len(asked) == 3 and "called Town already" in asked[1][0] and "a/b" in asked[2][0]
    assert (model_folder / "town.safetensors").read_bytes() == b"mine"
    assert (model_folder / "village.safetensors").read_bytes() == embedded.read_bytes()


def test_who_gives_no_name_imports_nothing(dock, manager, choose_file, answer, embedded, model_folder):
    answer(None)
    choose_file(embedded)
    manager.import_button.click()
    assert dock.queue.running is None and not model_folder.exists()


@pytest.mark.parametrize("kind", ["a picture", "cut short"])
def test_what_is_no_whole_model_file_is_refused_and_not_copied(
    manager, choose_file, ended, embedded, model_folder, tmp_path, kind
):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff\xd8\xff\xe0" * 9 if kind == "a picture" else embedded.read_bytes()[:-100])
    job = bring(manager, broken, choose_file, ended)
    assert job.state is JobState.FAILED and "broken.safetensors" in manager.said.text()
    assert not model_folder.exists()


def test_an_import_that_is_cancelled_leaves_nothing(dock, manager, choose_file, fake, ended, model_folder, tmp_path):
    fake('next(r := requests())\nnext(r)\nsay("cancelled", id=1)')
    source = tmp_path / "town.safetensors"
    source.write_bytes(b"model")
    choose_file(source)
    manager.import_button.click()
    assert not manager.import_button.isEnabled() and not manager.convert_button.isEnabled()
    dock.queue.cancel(dock.queue.running)
    wait_for(lambda: ended)
    assert ended[0].state is JobState.CANCELLED and "cancelled" in manager.said.text()
    assert manager.import_button.isEnabled() and manager.convert_button.isEnabled()
    assert not model_folder.exists()


def test_a_checkpoint_is_converted_through_the_queue(
    dock, manager, monkeypatch, ended, model_folder, tmp_path, engine_python, project
):
    checkpoint = write_checkpoint(tmp_path / "town.pth", engine_python=engine_python, project=project)

    def fill_in(dialog):
        assert not dialog.buttons.button(dialog.buttons.StandardButton.Ok).isEnabled()
        dialog.checkpoint.setFilePath(str(checkpoint))
        dialog.classes.setText("house, shed")
        dialog.gsd.setValue(0.25)
        assert dialog.buttons.button(dialog.buttons.StandardButton.Ok).isEnabled()
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(ConversionDialog, "exec", fill_in)
    manager.convert_button.click()
    wait_for(lambda: ended)
    assert ended[0].state is JobState.DONE, ended[0].error
    assert "Mask DINO for instance segmentation" in manager.said.text()
    assert manager.model() == "town" and models_in_picker(dock) == [LITE, "town"]
    assert "house, shed" in manager.card.toPlainText() and "0.25 m/px" in manager.card.toPlainText()


def test_a_checkpoint_that_is_none_is_refused_in_the_window(manager, monkeypatch, ended, model_folder, tmp_path):
    (tmp_path / "holiday.pth").write_bytes(b"\xff\xd8\xff\xe0")

    def fill_in(dialog):
        dialog.checkpoint.setFilePath(str(tmp_path / "holiday.pth"))
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(ConversionDialog, "exec", fill_in)
    manager.convert_button.click()
    wait_for(lambda: ended)
    assert ended[0].state is JobState.FAILED and "holiday.pth" in manager.said.text()
    assert not list(model_folder.iterdir())


@pytest.mark.parametrize("meant", [QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No])
def test_an_own_model_is_removed_only_when_that_is_meant(dock, manager, monkeypatch, model_folder, embedded, meant):
    model_folder.mkdir()
    own = model_folder / "town.safetensors"
    own.write_bytes(embedded.read_bytes())
    dock.refresh()
    assert "town" in models_in_picker(dock)
    monkeypatch.setattr(QMessageBox, "question", lambda *given: meant)
    manager.show_model("town")
    manager.remove_button.click()
    gone = meant == QMessageBox.StandardButton.Yes
    assert own.exists() is not gone
    assert models_in_picker(dock) == ([LITE] if gone else [LITE, "town"])
    assert manager.model() == (LITE if gone else "town")


def test_a_model_that_a_job_uses_is_not_removed(dock, manager, monkeypatch, town, fake, model_folder):
    fake(DETECTS_UNTIL_CANCELLED)
    model_folder.mkdir()
    (model_folder / "town.safetensors").write_bytes(b"model")
    dock.refresh()
    dock.detect_page.model.choose("town")
    dock.detect_page.submit()
    wait_for(lambda: dock.queue.running is not None)
    monkeypatch.setattr(QMessageBox, "question", lambda *given: pytest.fail("it asked"))
    manager.show_model("town")
    manager.remove_button.click()
    assert dock.queue.running.title in manager.said.text()
    assert (model_folder / "town.safetensors").exists()


def test_without_an_engine_cards_are_there_and_the_rest_says_what_is_missing(dock, monkeypatch):
    monkeypatch.delenv("MASKDINO_PYTHON")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *given, **named: pytest.fail("it asked for a file"))
    monkeypatch.setattr(ConversionDialog, "exec", lambda dialog: pytest.fail("it asked for a checkpoint"))
    dock.models.show_model()
    assert "Banepa" in dock.models.card.toPlainText()
    for button in (dock.models.import_button, dock.models.convert_button):
        dock.models.said.clear()
        button.click()
        assert "engine" in dock.models.said.text()


def test_a_file_of_the_folder_that_is_no_model_is_listed_and_said_to_be_none(dock, manager, model_folder):
    model_folder.mkdir()
    (model_folder / "odd <b>.safetensors").write_bytes(b"odd")
    manager.show_model("odd <b>")
    assert manager.model() == "odd <b>"
    assert "odd <b>" in manager.card.toPlainText() and "no model file" in manager.card.toPlainText()


def test_without_a_chosen_folder_models_go_into_the_local_data(
    dock, manager, monkeypatch, choose_file, answer, ended, embedded, tmp_path
):
    settings.set_model_folder("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    answer("town")
    bring(manager, embedded, choose_file, ended)
    assert (tmp_path / "data" / "qgis-maskdino" / "models" / "town.safetensors").is_file()
    assert models_in_picker(dock) == [LITE, "town"]
