"""The plugin's page of QGIS's options."""

from __future__ import annotations

import json
import sys

import pytest
from qgis.PyQt.QtWidgets import QMessageBox

from qgis_maskdino import settings
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.gui.job_message import DetailsDialog
from qgis_maskdino.gui.pages.options_page import OptionsFactory
from qgis_maskdino.jobs.queue import JobQueue
from tests.qgis_maskdino.fake_engine import fake_engine
from tests.qgis_maskdino.gui.panel_window import wait_for


@pytest.fixture
def applied():
    return []


@pytest.fixture
def open_page(tmp_path, applied):
    """Open the page as QGIS does."""
    queue = JobQueue()
    kept = []

    def opened():
        factory = OptionsFactory(EngineEnvironment(str(tmp_path / "environment")), queue, lambda: applied.append(True))
        page = factory.createWidget(None)
        page.show()
        kept.extend((factory, page))
        return page

    yield opened
    queue.close()


def test_what_was_entered_is_there_when_the_options_are_opened_again(open_page, applied, tmp_path):
    page = open_page()
    page.python.setFilePath(sys.executable)
    page.device.choose("cuda:1")
    page.models.setFilePath(str(tmp_path))
    page.index.setText(" https://mirror.example.org/simple ")
    page.apply()
    assert applied
    assert (settings.python(), settings.device(), settings.model_folder()) == (sys.executable, "cuda:1", str(tmp_path))
    assert settings.package_index() == "https://mirror.example.org/simple"
    again = open_page()
    assert (again.python.filePath(), again.device.device()) == (sys.executable, "cuda:1")


def test_what_was_entered_is_forgotten_when_the_options_are_cancelled(open_page):
    page = open_page()
    page.index.setText("https://mirror.example.org/simple")
    page.close()
    assert settings.package_index() == ""


def test_an_interpreter_of_the_users_own_is_never_repaired_or_removed(open_page):
    page = open_page()  # the tests' engine is named by MASKDINO_PYTHON
    assert page.check_button.isEnabled()
    assert not page.repair_button.isEnabled()
    assert not page.remove_button.isEnabled()


def test_what_is_typed_is_judged_at_once(open_page, monkeypatch, engine_python, tmp_path):
    monkeypatch.delenv("MASKDINO_PYTHON")
    page = open_page()
    assert not page.check_button.isEnabled() and page.repair_button.isEnabled()
    page.python.setFilePath(str(tmp_path / "no python"))
    assert "no python" in page.condition.text() and not page.check_button.isEnabled()
    page.python.setFilePath(engine_python)
    assert page.check_button.isEnabled() and not page.repair_button.isEnabled()
    page.python.setFilePath("")
    assert page.repair_button.isEnabled() and page.repair_button.text() == "Install"


def test_without_an_engine_there_is_one_thing_to_do(open_page, monkeypatch):
    monkeypatch.delenv("MASKDINO_PYTHON")
    page = open_page()
    assert page.repair_button.isEnabled()
    assert page.repair_button.text() == "Install"
    assert not page.check_button.isEnabled()
    assert not page.remove_button.isEnabled()


def test_the_check_shows_what_the_engine_says_of_itself(open_page, tmp_path, monkeypatch):
    report = {"devices": {"cpu": "4 cores"}, "detection": {"succeeded": True, "seconds": 1.5, "device": "cpu"}}
    sources = fake_engine(tmp_path, f"for r in requests(): say('result', id=r['id'], **{report!r})")
    monkeypatch.setattr(EngineEnvironment, "source_folder", lambda self: sources)
    page = open_page()
    page.check_button.click()
    assert not page.check_button.isEnabled()
    wait_for(lambda: page.findChildren(DetailsDialog))
    assert "1.5 s on cpu" in page.condition.text()
    (dialog,) = page.findChildren(DetailsDialog)
    assert json.loads(dialog.text.toPlainText()) == report
    dialog.close()


@pytest.mark.parametrize("answer", [QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No])
def test_the_installation_is_removed_only_when_that_is_meant(open_page, monkeypatch, tmp_path, answer):
    monkeypatch.delenv("MASKDINO_PYTHON")
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "pyvenv.cfg").touch()  # one that was never finished
    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: answer)
    page = open_page()
    page.remove_button.click()
    assert folder.exists() is (answer == QMessageBox.StandardButton.No)
