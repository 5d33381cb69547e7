"""Layers that jobs brought: opened, styled, named, put into the project where people look for them."""

from __future__ import annotations

from qgis.core import QgsProject, QgsVectorLayer

from qgis_maskdino.layer_style import style_file


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
    layer.loadNamedStyle(style_file(style))
    return layer


def add_result(layer: QgsVectorLayer, *, above: str = "") -> None:
    """Add a layer to the project, above another one where that is still there, else on top.

    Args:
        above: the id of the layer that it was made of.
    """
    project = QgsProject.instance()
    project.addMapLayer(layer, False)
    root = project.layerTreeRoot()
    node = root.findLayer(above) if above else None
    parent = node.parent() if node is not None else root
    place = parent.children().index(node) if node is not None else 0
    node = parent.insertLayer(place, layer)
    for expanded in (False, True):  # its legend says what the colours mean; the panel of layers hears changes alone
        node.setExpanded(expanded)
