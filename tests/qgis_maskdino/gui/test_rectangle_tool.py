"""Drawing a rectangle on the map with mouse and keyboard."""

from __future__ import annotations

import pytest
from qgis.core import QgsRectangle
from qgis.gui import QgsMapToolPan
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtTest import QTest

from qgis_maskdino.gui.area_picker import RECTANGLE, AreaPicker
from tests.qgis_maskdino.gui.panel_window import PanelInterface, let_go


@pytest.fixture
def canvas():
    iface = PanelInterface()
    iface.mainWindow().show()
    canvas = iface.mapCanvas()
    canvas.setExtent(QgsRectangle(500_000, 4_999_900, 500_100, 5_000_000))
    canvas.pan = QgsMapToolPan(canvas)
    canvas.setMapTool(canvas.pan)
    yield canvas
    iface.mainWindow().close()


@pytest.fixture
def picker(canvas):
    picker = AreaPicker(canvas)
    picker.show()
    picker.choice.setCurrentIndex(RECTANGLE)
    yield picker
    picker.close_tools()
    picker.deleteLater()
    let_go()


def drag(canvas, start: QPoint, end: QPoint) -> None:
    where = canvas.viewport()
    QTest.mousePress(where, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, start)
    QTest.mouseMove(where, end)
    QTest.mouseRelease(where, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, end)


def test_a_drag_makes_the_area_and_gives_the_tool_before_back(canvas, picker):
    changes = []
    picker.changed.connect(lambda: changes.append(True))
    picker.draw_button.click()
    start, end = QPoint(100, 120), QPoint(220, 300)
    to_map = canvas.getCoordinateTransform()
    wanted = QgsRectangle(to_map.toMapCoordinates(start), to_map.toMapCoordinates(end))
    drag(canvas, start, end)
    drawn = picker.parameters()["EXTENT"]
    assert drawn.toString(3) == wanted.toString(3)
    assert drawn.crs().authid() == "EPSG:32633"
    assert changes and not picker.why_not()
    assert canvas.mapTool() is canvas.pan
    assert not picker.draw_button.isChecked()


def test_a_click_draws_nothing_and_the_tool_stays(canvas, picker):
    picker.draw_button.click()
    QTest.mouseClick(canvas.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(50, 50))
    assert picker.parameters()["EXTENT"] is None
    assert picker.draw_button.isChecked()


def test_escape_gives_up(canvas, picker):
    picker.draw_button.click()
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    assert not picker.draw_button.isChecked()
    assert canvas.mapTool() is canvas.pan


def test_another_tool_may_be_taken_in_the_middle(canvas, picker):
    picker.draw_button.click()
    other = QgsMapToolPan(canvas)
    canvas.setMapTool(other)
    assert canvas.mapTool() is other
    assert not picker.draw_button.isChecked()
    canvas.unsetMapTool(other)


def test_nothing_stays_on_the_map(canvas):
    before = len(canvas.scene().items())
    picker = AreaPicker(canvas)
    picker.show()
    picker.choice.setCurrentIndex(RECTANGLE)
    picker.draw_button.click()
    picker.close_tools()
    picker.deleteLater()
    let_go()
    assert len(canvas.scene().items()) == before
