"""Combo boxes for layers of polygons, and what they propose."""

from __future__ import annotations

from qgis.core import QgsMapLayerProxyModel, QgsVectorLayer
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtWidgets import QWidget

from qgis_maskdino.layers.detections import detected_at, is_detections
from qgis_maskdino.translation import tr


def polygon_combo(*, optional: bool = False) -> QgsMapLayerComboBox:
    """Return a combo box with the project's layers of polygons.

    Args:
        optional: whether none may be chosen, as at first none is.
    """
    combo = QgsMapLayerComboBox()
    combo.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
    if optional:
        combo.setAllowEmptyLayer(True, tr("Everywhere"))
        combo.setCurrentIndex(0)
    return combo


def chosen(combo: QgsMapLayerComboBox) -> QgsVectorLayer | None:
    """Return the chosen layer."""
    layer = combo.currentLayer()
    return layer if isinstance(layer, QgsVectorLayer) else None


class _ProposingCombo(QgsMapLayerComboBox):
    """Proposes a layer whenever the project has others."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFilters(QgsMapLayerProxyModel.Filter.PolygonLayer)
        # A layer that comes changes no choice, and so is not told as one.
        self.model().rowsInserted.connect(lambda *rows: self.propose())
        self.model().rowsRemoved.connect(lambda *rows: self.propose())
        self.propose()

    def layers(self) -> list[QgsVectorLayer]:
        """Return the layers to choose from."""
        listed = (self.layer(index) for index in range(self.count()))
        return [layer for layer in listed if isinstance(layer, QgsVectorLayer)]

    def propose(self) -> None:
        """Choose what suits."""
        raise NotImplementedError


class DetectionsCombo(_ProposingCombo):
    """Proposes each new layer of detections once; what the user chooses after that stays."""

    _proposed = ""

    def propose(self) -> None:
        newest = max(filter(is_detections, self.layers()), key=detected_at, default=None)
        if newest is not None and newest.id() != self._proposed:
            self._proposed = newest.id()
            self.setLayer(newest)


class AnnotationsCombo(_ProposingCombo):
    """Never proposes detections, lest a model is judged by its own output or trained on it; the user may choose them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        self._picked = ""
        super().__init__(parent)
        self.activated.connect(self._pick)

    def propose(self) -> None:
        layer = self.currentLayer()
        if layer is not None and (layer.id() == self._picked or not is_detections(layer)):
            return
        self.setLayer(next((layer for layer in self.layers() if not is_detections(layer)), None))

    def take(self, layer: QgsVectorLayer) -> None:
        """Choose a layer in the user's name."""
        self._picked = layer.id()
        self.setLayer(layer)

    def _pick(self, index: int) -> None:
        layer = self.layer(index)
        self._picked = layer.id() if layer is not None else ""
