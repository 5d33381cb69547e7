"""A window for the dock: what of QGIS's interface the panel uses, with real widgets, and ways to wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from qgis.core import QgsCoordinateReferenceSystem, QgsFeature, QgsGeometry, QgsPointXY, QgsVectorFileWriter, QgsVectorLayer
from qgis.gui import QgsMapCanvas, QgsMessageBar
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QEventLoop
from qgis.PyQt.QtWidgets import QMainWindow

# A fake engine's detection: it takes the buildings from a file, and tells of its progress as the real one does.
PROGRESS = """
def progress(request, done, total, buildings):
    say("progress", id=request["id"], done=done, total=total, unit="tiles", buildings=buildings,
        megapixels_per_second=0.5, seconds_left=total - done, device="cpu")
"""
DETECTS = (
    PROGRESS
    + """
import shutil
for request in requests():
    for done in range(1, 5):
        progress(request, done, 4, 3 * done)
    shutil.copy(FOUND, request["arguments"]["output"])
    say("result", id=request["id"], output=request["arguments"]["output"], buildings=COUNT, area_m2=100.0 * COUNT,
        megapixels=1.0, device="cpu", cancelled=False)
"""
)
# One that works until it is cancelled, and then writes what it found, as the real one does.
DETECTS_UNTIL_CANCELLED = (
    PROGRESS
    + """
import shutil
import threading
asked = requests()
request = next(asked)
cancelled = threading.Event()
threading.Thread(target=lambda: [cancelled.set() for other in asked if other["command"] == "cancel"], daemon=True).start()
done = 0
while not cancelled.wait(0.05):
    done += 1
    progress(request, min(done, 90), 100, done)
shutil.copy(FOUND, request["arguments"]["output"])
say("cancelled", id=request["id"], output=request["arguments"]["output"], buildings=COUNT, area_m2=100.0 * COUNT,
    megapixels=1.0, device="cpu", cancelled=True)
"""
)


class PanelInterface:
    """Stands in for QGIS's interface."""

    def __init__(self) -> None:
        self._window = QMainWindow()
        self._canvas = QgsMapCanvas(self._window)
        self._canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:32633"))
        self._bar = QgsMessageBar(self._window)
        self._window.setCentralWidget(self._canvas)
        self._window.resize(1000, 700)
        self.options_opened: list[str] = []

    def mainWindow(self) -> QMainWindow:
        return self._window

    def mapCanvas(self) -> QgsMapCanvas:
        return self._canvas

    def messageBar(self) -> QgsMessageBar:
        return self._bar

    def showOptionsDialog(self, parent, page: str) -> None:
        self.options_opened.append(page)


def wait_for(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Let the window live until something is the case."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"It is not the case after {seconds:.0f} s.")
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
        time.sleep(0.01)


def let_go() -> None:
    """Let Qt delete what is to be deleted."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QCoreApplication.processEvents()


def write_buildings(path: Path, count: int, *, crs: str = "EPSG:32633", scores: bool = True, shift: float = 0.0) -> Path:
    """Write squares of 6 m in the middle of the tests' scene, as the engine or an annotator would."""
    fields = "&field=score:double&field=area_m2:double" if scores else "&field=kind:string"
    layer = QgsVectorLayer(f"Polygon?crs={crs}{fields}", "buildings", "memory")
    names = layer.fields()
    features = []
    for number in range(count):
        left, top = 500_005.0 + 10 * (number % 8) + shift, 4_999_990.0 - 10 * (number // 8)
        corners = [(left, top), (left + 6, top), (left + 6, top - 6), (left, top - 6)]
        feature = QgsFeature(names)
        feature.setGeometry(QgsGeometry.fromPolygonXY([[QgsPointXY(*corner) for corner in corners]]))
        feature.setAttributes([0.5 + 0.4 * (number % 2), 36.0] if scores else ["house"])
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.layerName = "buildings"
    written = QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), layer.transformContext(), options)
    assert written[0] == QgsVectorFileWriter.WriterError.NoError, written
    return path
