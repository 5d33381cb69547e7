"""The dock in a window of its own, a raster layer, and engines that answer as a test wants."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import Qt

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.gui.dock import MaskDinoDock
from tests.qgis_maskdino.fake_engine import fake_engine
from tests.qgis_maskdino.gui.panel_window import PanelInterface, let_go, write_buildings


@pytest.fixture
def iface():
    return PanelInterface()


@pytest.fixture
def dock(iface):
    dock = MaskDinoDock(iface, EngineEnvironment())
    iface.mainWindow().addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    iface.mainWindow().show()
    yield dock
    dock.close_down()
    dock.deleteLater()
    let_go()
    QgsProject.instance().clear()


@pytest.fixture
def town(scene) -> QgsRasterLayer:
    layer = QgsRasterLayer(str(scene), "town")
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Let a fake engine answer; `FOUND` and `COUNT` in its behaviour are a file of buildings and their number."""

    def install(behaviour: str, *, count: int = 12) -> Path:
        found = write_buildings(tmp_path / "found.gpkg", count)
        sources = fake_engine(tmp_path, f"FOUND, COUNT = {str(found)!r}, {count}\n" + behaviour)
        monkeypatch.setenv("MASKDINO_PYTHON", sys.executable)
        monkeypatch.setattr(EngineEnvironment, "source_folder", lambda self: sources)
        return found

    return install


@pytest.fixture
def ended(dock):
    jobs = []
    dock.queue.ended.connect(jobs.append)
    return jobs
