"""Layers that jobs brought: opened, styled, named, put into the project where people look for them."""

from __future__ import annotations

from qgis.core import QgsProject, QgsVectorLayer

from qgis_maskdino.layers.style import apply_style


def open_result(source: str, *, name: str, style: str) -> QgsVectorLayer | None:
    """Open a layer that a job wrote; None where it cannot be opened.

    Args:
        source: a file, or a file and a layer in it as OGR names them.
        name: in the layer tree.
        style: one of ``layer_style``.
    """
    layer = QgsVectorLayer(source, name, "ogr")
    if not layer.isValid():
        return None
    apply_style(layer, style)
    return layer


def add_result(layer: QgsVectorLayer, *, beside: str = "") -> None:
    """Add a layer to the project, on top of the group of another one where that is still there, else on top of all.

    Args:
        beside: the id of the layer that it was made of.
    """
    project = QgsProject.instance()
    project.addMapLayer(layer, False)
    root = project.layerTreeRoot()
    made_of = root.findLayer(beside) if beside else None
    node = (made_of.parent() if made_of is not None else root).insertLayer(0, layer)
    for expanded in (False, True):  # its legend says what the colours mean; the panel of layers hears changes alone
        node.setExpanded(expanded)
