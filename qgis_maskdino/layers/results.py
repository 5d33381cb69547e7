"""Layers that jobs brought: opened, styled, named, put into the project where people look for them."""

from __future__ import annotations

import os

from qgis.core import QgsLayerMetadata, QgsNotSupportedException, QgsProject, QgsProviderRegistry, QgsVectorLayer

from qgis_maskdino.layers.output_file import layers_of
from qgis_maskdino.layers.style import apply_style


def open_result(source: str, *, name: str, style: str | None = None) -> QgsVectorLayer | None:
    """Open a layer that a job wrote; None where it cannot be opened.

    Args:
        source: a file, or a file and a layer in it as OGR names them.
        name: in the layer tree.
        style: one of ``layers.style``; None for the one that it has.
    """
    layer = QgsVectorLayer(source, name, "ogr")
    if not layer.isValid():
        return None
    if style is not None:
        apply_style(layer, style)
    return layer


def project_layer(source: str) -> QgsVectorLayer | None:
    """Return the layer of the project that shows a layer of a file; None where it has none."""
    path, name = _place(source)
    for layer in QgsProject.instance().mapLayers().values():
        if isinstance(layer, QgsVectorLayer) and layer.providerType() == "ogr":
            other_path, other_name = _place(layer.source())
            if other_name == name and os.path.exists(other_path) and os.path.samefile(path, other_path):
                return layer
    return None


def layer_name(source: str) -> str:
    """Return the name of a layer in its file."""
    return _place(source)[1]


def store_metadata(source: str, metadata: QgsLayerMetadata) -> str:
    """Store metadata with a layer of a GeoPackage.

    Args:
        source: the layer, as OGR names it.

    Returns:
        What went wrong; empty where nothing did.
    """
    path, name = _place(source)
    layer = f"{path}|layername={name or layers_of(path)[0]}"  # without a name QGIS stores it for none
    try:
        stored, error = QgsProviderRegistry.instance().saveLayerMetadata("ogr", layer, metadata)
    except QgsNotSupportedException as unsupported:
        return str(unsupported)
    return "" if stored else error


def _place(source: str) -> tuple[str, str]:
    """Return the file and the layer in it that a source of OGR's names."""
    parts = QgsProviderRegistry.instance().decodeUri("ogr", source)
    return str(parts.get("path") or ""), str(parts.get("layerName") or "")


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
