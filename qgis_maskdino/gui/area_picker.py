"""Where to look for buildings: the whole layer, the map's view, a rectangle drawn on the map, or inside polygons."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsMapLayerProxyModel,
    QgsProcessingFeatureSourceDefinition,
    QgsRectangle,
    QgsReferencedRectangle,
    QgsVectorLayer,
)
from qgis.gui import QgsMapCanvas, QgsMapLayerComboBox, QgsMapTool
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from qgis_maskdino.gui.pages.page import note
from qgis_maskdino.gui.rectangle_tool import RectangleTool, rectangle_band, show_rectangle
from qgis_maskdino.layers.raster_facts import in_crs
from qgis_maskdino.translation import tr

LAYER, VIEW, RECTANGLE, POLYGONS = range(4)


class AreaPicker(QWidget):
    """Four ways to name an area, one at a time.

    Signals:
        changed: another area was chosen, or the map shows another one.
    """

    changed = pyqtSignal()

    def __init__(self, canvas: QgsMapCanvas, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._tool: RectangleTool | None = None
        self._tool_before: QgsMapTool | None = None
        self._drawn: QgsReferencedRectangle | None = None
        self._watched: set[str] = set()  # ids of layers whose selection is listened to
        self._band = rectangle_band(canvas)

        self.choice = QComboBox()
        self.choice.addItems([tr("Whole layer"), tr("Map view"), tr("Rectangle drawn on the map"), tr("Inside polygons")])
        self.choice.setToolTip(tr("Where to look for buildings. A small area first is a quick way to judge the settings."))
        self.draw_button = QPushButton(tr("Draw"))
        self.draw_button.setCheckable(True)
        self.draw_button.setToolTip(tr("Press the mouse button on the map, drag, and let go. Escape gives up."))
        self.drawn_text = note()
        self.polygons = QgsMapLayerComboBox()
        self.polygons.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.polygons.setToolTip(tr("Buildings are looked for inside these polygons alone. Any CRS."))
        self.selected_only = QCheckBox(tr("Selected polygons only"))

        drawing = QHBoxLayout()
        drawing.setContentsMargins(0, 0, 0, 0)
        drawing.addWidget(self.draw_button)
        drawing.addWidget(self.drawn_text, 1)
        inside = QVBoxLayout()
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.polygons)
        inside.addWidget(self.selected_only)
        self._rows = {RECTANGLE: QWidget(), POLYGONS: QWidget()}
        self._rows[RECTANGLE].setLayout(drawing)
        self._rows[POLYGONS].setLayout(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.choice)
        for row in self._rows.values():
            layout.addWidget(row)
        self.setFocusProxy(self.choice)

        self.choice.currentIndexChanged.connect(self._chosen)
        self.draw_button.toggled.connect(self._draw)
        self.polygons.layerChanged.connect(self._polygons_changed)
        self.selected_only.toggled.connect(self.changed)
        canvas.extentsChanged.connect(self._view_changed)
        self._polygons_changed()
        self._chosen()

    def parameters(self) -> dict[str, Any]:
        """Return the area as parameters of a Processing algorithm: ``EXTENT``, ``AOI``, or neither for the whole layer."""
        kind = self.choice.currentIndex()
        if kind in (VIEW, RECTANGLE):
            return {"EXTENT": self._rectangle()}
        if kind == POLYGONS and self.polygons.currentLayer() is not None:
            layer = self.polygons.currentLayer().id()
            return {"AOI": QgsProcessingFeatureSourceDefinition(layer, self.selected_only.isChecked())}
        return {}

    def rectangle_in(self, crs: QgsCoordinateReferenceSystem) -> QgsRectangle | None:
        """Return the rectangle around the area in a CRS; None for the whole layer, or where there is none."""
        kind = self.choice.currentIndex()
        if kind in (VIEW, RECTANGLE):
            rectangle = self._rectangle()
            return None if rectangle is None else in_crs(QgsRectangle(rectangle), rectangle.crs(), crs)
        layer = self.polygons.currentLayer()
        if kind == POLYGONS and isinstance(layer, QgsVectorLayer):
            box = layer.boundingBoxOfSelected() if self.selected_only.isChecked() else layer.extent()
            return in_crs(box, layer.crs(), crs)
        return None

    def description(self) -> str:
        """Return the kind of area in a word or two, for the name of what is made of it."""
        polygons = self.polygons.currentLayer()
        inside = tr("inside {}").format(polygons.name()) if polygons is not None else ""
        return (tr("whole layer"), tr("map view"), tr("rectangle"), inside)[self.choice.currentIndex()]

    def why_not(self) -> str:
        """Return why there is no area yet; empty when there is one."""
        kind = self.choice.currentIndex()
        if kind == RECTANGLE and self._drawn is None:
            return tr("Draw the rectangle on the map.")
        if kind == POLYGONS:
            layer = self.polygons.currentLayer()
            if not isinstance(layer, QgsVectorLayer):
                return tr("There is no polygon layer in the project.")
            if self.selected_only.isChecked() and not layer.selectedFeatureCount():
                return tr("No polygon is selected in the layer.")
        return ""

    def set_rectangle(self, rectangle: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> None:
        """Choose a rectangle, as if it had been drawn."""
        self._drawn = QgsReferencedRectangle(rectangle, crs)
        self.drawn_text.setText(f"{rectangle.width():.6g} × {rectangle.height():.6g} · {crs.authid()}")
        self.choice.setCurrentIndex(RECTANGLE)
        self._show_drawn()
        self.changed.emit()

    def showEvent(self, event) -> None:
        super().showEvent(event)
        self._show_drawn()

    def hideEvent(self, event) -> None:
        super().hideEvent(event)
        self.draw_button.setChecked(False)
        show_rectangle(self._band, None)

    def close_tools(self) -> None:
        """Take everything off the map; the picker is not used after that."""
        self.draw_button.setChecked(False)
        self._canvas.extentsChanged.disconnect(self._view_changed)
        self._canvas.scene().removeItem(self._band)

    def _rectangle(self) -> QgsReferencedRectangle | None:
        if self.choice.currentIndex() == VIEW:
            return QgsReferencedRectangle(self._canvas.extent(), self._canvas.mapSettings().destinationCrs())
        return self._drawn

    def _chosen(self) -> None:
        kind = self.choice.currentIndex()
        for needed_by, row in self._rows.items():
            row.setVisible(kind == needed_by)
        if kind != RECTANGLE:
            self.draw_button.setChecked(False)
        self._show_drawn()
        self.changed.emit()

    def _draw(self, wanted: bool) -> None:
        if wanted:
            self._tool_before = self._canvas.mapTool()
            self._tool = RectangleTool(self._canvas)
            self._tool.drawn.connect(self._take_drawn)
            self._tool.given_up.connect(lambda: self.draw_button.setChecked(False))
            self._tool.deactivated.connect(self._tool_left)
            show_rectangle(self._band, None)
            self._canvas.setMapTool(self._tool)
            self._canvas.setFocus()
        elif self._tool is not None:
            tool, self._tool = self._tool, None
            self._canvas.unsetMapTool(tool)
            if self._tool_before is not None:
                self._canvas.setMapTool(self._tool_before)
            tool.remove()
            self._show_drawn()

    def _tool_left(self) -> None:
        """Hear that the user took another tool; the canvas is in the middle of changing it."""
        if self._tool is not None:
            tool, self._tool = self._tool, None
            self.draw_button.setChecked(False)
            tool.remove()
            self._show_drawn()

    def _take_drawn(self, rectangle: QgsRectangle) -> None:
        self.draw_button.setChecked(False)
        self.set_rectangle(rectangle, self._canvas.mapSettings().destinationCrs())

    def _show_drawn(self) -> None:
        """Let the map show the rectangle while it is what the panel will use."""
        show_rectangle(self._band, None)
        if self._drawn is None or self.choice.currentIndex() != RECTANGLE or not self.isVisible():
            return
        map_crs = self._canvas.mapSettings().destinationCrs()
        show_rectangle(self._band, in_crs(QgsRectangle(self._drawn), self._drawn.crs(), map_crs))

    def _polygons_changed(self) -> None:
        layer = self.polygons.currentLayer()
        self.selected_only.setEnabled(isinstance(layer, QgsVectorLayer))
        if isinstance(layer, QgsVectorLayer) and layer.id() not in self._watched:
            self._watched.add(layer.id())
            layer.selectionChanged.connect(lambda: self.changed.emit())
        self.changed.emit()

    def _view_changed(self) -> None:
        if self.choice.currentIndex() == VIEW:
            self.changed.emit()
        self._show_drawn()
