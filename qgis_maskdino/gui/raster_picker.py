"""A raster layer of the project, or a file that becomes one, with what there is to know of it."""

from __future__ import annotations

from qgis.core import QgsMapLayerProxyModel, QgsProject, QgsProviderRegistry, QgsRasterLayer
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QFileDialog, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from qgis_maskdino.gui.pages.page import note
from qgis_maskdino.layers.raster_facts import RasterFacts, raster_facts
from qgis_maskdino.translation import tr


class RasterPicker(QWidget):
    """Names a raster layer.

    Signals:
        changed: another layer was chosen, or there is none any more.
    """

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.combo = QgsMapLayerComboBox()
        self.combo.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.combo.setToolTip(tr("Aerial or satellite imagery: a file, a virtual raster, or a layer from the web."))
        browse = QToolButton()
        browse.setText("…")
        browse.setToolTip(tr("Add a raster file to the project and use it."))
        browse.clicked.connect(self._browse)
        self.facts = note()
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(browse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.facts)
        self.setFocusProxy(self.combo)
        self.combo.layerChanged.connect(self._changed)
        self._changed()

    def layer(self) -> QgsRasterLayer | None:
        """Return the chosen layer."""
        layer = self.combo.currentLayer()
        return layer if isinstance(layer, QgsRasterLayer) else None

    def why_not(self) -> str:
        """Return why there is no layer; empty when there is one."""
        layer = self.layer()
        if layer is None:
            return tr("Add a raster layer to the project first, or choose a file with the … button.")
        if not layer.isValid():
            return tr("The layer's source cannot be read.")
        return ""

    def _changed(self) -> None:
        layer = self.layer()
        self.facts.setText(_describe(layer) if layer is not None and layer.isValid() else "")
        self.facts.setVisible(bool(self.facts.text()))
        self.changed.emit()

    def _browse(self) -> None:
        filters = QgsProviderRegistry.instance().fileRasterFilters()
        path, _ = QFileDialog.getOpenFileName(self, tr("Raster file"), "", filters)
        if not path:
            return
        name = path.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
        layer = QgsRasterLayer(path, name)
        if layer.isValid():
            QgsProject.instance().addMapLayer(layer)
            self.combo.setLayer(layer)
        else:
            self.facts.setText(tr("This file is no raster that QGIS can read."))
            self.facts.show()


def _describe(layer: QgsRasterLayer) -> str:
    facts = raster_facts(layer)
    parts = []
    if facts.megapixels:
        parts.append(f"{facts.width} × {facts.height} px")
        parts.append(tr("{} bands").format(facts.bands) if facts.bands != 1 else tr("1 band"))
    else:
        parts.append(tr("from the web: fetched at the model's resolution"))
    if facts.gsd is not None:
        parts.append(f"{facts.gsd:.2g} m/px")
    parts.append(facts.crs.replace(":", ":\u2060") or tr("without CRS"))  # a word joiner: no line begins with the number
    return "\n".join([" · ".join(parts), *(f"⚠ {caution}" for caution in _cautions(facts))])


def _cautions(facts: RasterFacts) -> list[str]:
    """Return what will be wrong with a result, which the engine says only when it has looked at the raster."""
    cautions = []
    if not facts.crs:
        cautions.append(tr("Without a CRS the resolution is a guess, and the result will not lie on the map. Set it first."))
    if facts.megapixels and facts.bands == 1:
        cautions.append(tr("One band is a grey image; the model was trained on colours and finds less."))
    return cautions
