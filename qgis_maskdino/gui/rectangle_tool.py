"""A map tool that draws a rectangle."""

from __future__ import annotations

from qgis.core import QgsPointXY, QgsRectangle, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QKeyEvent

_POLYGON = QgsWkbTypes.geometryType(QgsWkbTypes.Type.Polygon)  # the same words in QGIS 3 and 4
_FILL = QColor(244, 161, 63, 50)
_LINE = QColor(217, 84, 43)


class RectangleTool(QgsMapTool):
    """Press, drag, release. Escape gives up.

    Signals:
        drawn: a rectangle in the map's CRS.
        given_up: the user wants none.
    """

    drawn = pyqtSignal(object)
    given_up = pyqtSignal()

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self._start: QgsPointXY | None = None
        self._band = rectangle_band(canvas)

    def canvasPressEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._start = event.mapPoint()

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        if self._start is not None:
            show_rectangle(self._band, QgsRectangle(self._start, event.mapPoint()))

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if self._start is None:
            return
        rectangle = QgsRectangle(self._start, event.mapPoint())
        self._forget()
        if rectangle.isEmpty():
            return  # a click, not a drag
        self.drawn.emit(rectangle)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self._forget()
            self.given_up.emit()

    def deactivate(self) -> None:
        self._forget()
        super().deactivate()

    def remove(self) -> None:
        """Take what was drawn off the map; the tool is not used after that."""
        self.canvas().scene().removeItem(self._band)
        self.deleteLater()

    def _forget(self) -> None:
        self._start = None
        show_rectangle(self._band, None)


def rectangle_band(canvas: QgsMapCanvas) -> QgsRubberBand:
    """Return an empty rubber band for a rectangle."""
    band = QgsRubberBand(canvas, _POLYGON)
    band.setFillColor(_FILL)
    band.setStrokeColor(_LINE)
    band.setWidth(2)
    return band


def show_rectangle(band: QgsRubberBand, rectangle: QgsRectangle | None) -> None:
    """Let a rubber band show a rectangle of the map's CRS, or nothing."""
    band.reset(_POLYGON)
    if rectangle is None:
        return
    corners = [
        QgsPointXY(rectangle.xMinimum(), rectangle.yMinimum()),
        QgsPointXY(rectangle.xMaximum(), rectangle.yMinimum()),
        QgsPointXY(rectangle.xMaximum(), rectangle.yMaximum()),
        QgsPointXY(rectangle.xMinimum(), rectangle.yMaximum()),
    ]
    for corner in corners:
        band.addPoint(corner, corner is corners[-1])
