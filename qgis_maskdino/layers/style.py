"""The styles of layers that come out of an algorithm, and how they get them once they are loaded."""

from __future__ import annotations

import os
from collections.abc import Collection

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsMapLayer,
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterLayer,
    QgsRenderContext,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtGui import QColor

from qgis_maskdino.layers.detections import mark_as_detections
from qgis_maskdino.translation import tr

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "styles")
DETECTIONS = "detections"
MATCHES = "matches"
CLASSES = "classes"
CLASS_FIELD = "class"
_CLASS_TIP = f"""<b>[% replace("{CLASS_FIELD}", '<', '&lt;') %]</b><br>"""  # a name comes from whoever made the model
_STORED = "Mask DINO"  # name of the style in a GeoPackage
_GOLDEN_ANGLE = 137.508  # degrees: however many hues are taken this far apart, neighbours in the list differ
_FILL = 36  # of 255: the roof below stays visible


def style_file(name: str) -> str:
    """Return the file of a style."""
    return os.path.join(FOLDER, f"{name}.qml")


def apply_style(layer: QgsVectorLayer, name: str) -> None:
    """Give a layer a style; detections of several classes are drawn by class instead of by score. In the main thread."""
    layer.loadNamedStyle(style_file(name))
    if name == DETECTIONS and layer.fields().indexOf(CLASS_FIELD) >= 0:
        layer.setRenderer(_by_class(layer))
        layer.setMapTipTemplate(f"{_CLASS_TIP}{layer.mapTipTemplate()}")
    if name == MATCHES:
        for index, text in enumerate((tr("Hit"), tr("False detection"), tr("Missed building"))):  # in the order of the file
            layer.renderer().updateCategoryLabel(index, text)
    layer.triggerRepaint()


def store_style(layer: QgsVectorLayer) -> str:
    """Store a layer's style in its GeoPackage, as the one that it opens with everywhere.

    Returns:
        What went wrong; empty where nothing did.
    """
    _, ids, names, _, _ = layer.listStylesInDatabase()
    for index, name in enumerate(names):
        if name == _STORED:  # of an earlier layer of this name; QGIS would ask in a dialog
            layer.deleteStyleFromDatabase(ids[index])
    return layer.saveStyleToDatabase(_STORED, "", True, "")


def _by_class(layer: QgsVectorLayer) -> QgsCategorizedSymbolRenderer:
    """Return a renderer with a colour for each class that the layer has."""
    pattern = layer.renderer().symbols(QgsRenderContext())[0]
    categories = []
    for number, name in enumerate(sorted(layer.uniqueValues(layer.fields().indexOf(CLASS_FIELD)), key=str)):
        symbol = pattern.clone()
        outline = QColor.fromHsvF(number * _GOLDEN_ANGLE / 360 % 1, 0.8, 1.0)
        symbol.symbolLayer(0).setStrokeColor(outline)
        symbol.symbolLayer(0).setFillColor(QColor(outline.red(), outline.green(), outline.blue(), _FILL))
        categories.append(QgsRendererCategory(name, symbol, str(name)))
    return QgsCategorizedSymbolRenderer(CLASS_FIELD, categories)


def show_classes_alone(layer: QgsRasterLayer, classes: Collection[str]) -> None:
    """Leave in the legend of a raster with a palette what is in the picture: of a byte QGIS lists all 256 values."""
    renderer = layer.renderer()
    if isinstance(renderer, QgsPalettedRasterRenderer):
        shown = [entry for entry in renderer.classes() if entry.label in classes]
        layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), renderer.band(), shown))
        layer.triggerRepaint()


def style_when_loaded(
    destination: str, name: str, context: QgsProcessingContext, *, classes: Collection[str] = frozenset()
) -> None:
    """Let a layer have a style when it is loaded; where it is not going to be, do nothing.

    Args:
        destination: where it is.
        name: of the style.
        context: of the algorithm.
        classes: names of the classes that a raster of them shows.
    """
    if context.willLoadLayerOnCompletion(destination):
        _styles[:] = [style for style in _styles if not sip.isdeleted(style)]
        _styles.append(_Style(name, classes))
        context.layerToLoadOnCompletionDetails(destination).setPostProcessor(_styles[-1])


class _Style(QgsProcessingLayerPostProcessorInterface):
    """Applies a style to each layer that it is given."""

    def __init__(self, name: str, classes: Collection[str]) -> None:
        super().__init__()
        self.name, self.classes = name, classes

    def postProcessLayer(self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> None:
        """Apply the style. Called in the main thread."""
        if self.name == CLASSES:
            show_classes_alone(layer, self.classes)
            return
        apply_style(layer, self.name)
        if self.name == DETECTIONS:
            mark_as_detections(layer)


# A context deletes the one that it was given when it goes, and until then keeps no hold of it that Python knows.
_styles: list[_Style] = []
