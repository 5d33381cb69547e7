"""The map while detections are reviewed: the current one is outlined and in view."""

from __future__ import annotations

from qgis.core import QgsFeature, QgsVectorLayer, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsRubberBand
from qgis.PyQt.QtGui import QColor

_POLYGON = QgsWkbTypes.geometryType(QgsWkbTypes.Type.Polygon)  # the same words in QGIS 3 and 4
_LINE = QColor(0, 200, 255)
_CASING = QColor(255, 255, 255)
_WIDTH = 3  # pixels
_AROUND = 6.0  # of the polygon's own size: a roof is judged by what stands around it


class ReviewMap:
    """Outlines a feature on a map and brings it into view."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        self._canvas = canvas
        self._band: QgsRubberBand | None = None

    def show(self, feature: QgsFeature, layer: QgsVectorLayer) -> None:
        """Outline a feature of a layer, and nothing else; bring it into view."""
        self.clear()
        if not feature.hasGeometry():
            return
        self._band = QgsRubberBand(self._canvas, _POLYGON)
        self._band.setStrokeColor(_LINE)
        self._band.setSecondaryStrokeColor(_CASING)
        self._band.setFillColor(QColor(0, 0, 0, 0))
        self._band.setWidth(_WIDTH)
        self._band.setToGeometry(feature.geometry(), layer)
        box = self._canvas.mapSettings().layerExtentToOutputExtent(layer, feature.geometry().boundingBox())
        box.scale(_AROUND)
        self._canvas.setExtent(box)
        self._canvas.refresh()

    def clear(self) -> None:
        """Take the outline off the map."""
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None
