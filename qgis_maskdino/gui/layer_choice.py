"""Combo boxes for layers of polygons, and how they become parameters of an algorithm."""

from __future__ import annotations

from qgis.core import QgsMapLayerProxyModel, QgsVectorLayer
from qgis.gui import QgsMapLayerComboBox

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


def choose_by_fields(combo: QgsMapLayerComboBox, *, having: bool, field: str = "score") -> None:
    """Choose the first layer that has a field, or that has it not."""
    for index in range(combo.count()):
        layer = combo.layer(index)
        if isinstance(layer, QgsVectorLayer) and (layer.fields().lookupField(field) >= 0) is having:
            combo.setLayer(layer)  # an index that is set is not told to anybody
            return
