"""Give layers that come out of an algorithm their style, once they are loaded."""

from __future__ import annotations

import os

from qgis.core import (
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
)

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "styles")
DETECTIONS = "detections"
MATCHES = "matches"


def style_file(name: str) -> str:
    """Return the file of a style."""
    return os.path.join(FOLDER, f"{name}.qml")


def style_when_loaded(destination: str, name: str, context: QgsProcessingContext) -> None:
    """Let a layer have a style when it is loaded; where it is not going to be, do nothing."""
    if context.willLoadLayerOnCompletion(destination):
        context.layerToLoadOnCompletionDetails(destination).setPostProcessor(_STYLES[name])


class _Style(QgsProcessingLayerPostProcessorInterface):
    """Applies a style to each layer that it is given."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def postProcessLayer(self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> None:
        """Apply the style. Called in the main thread."""
        layer.loadNamedStyle(style_file(self.name))
        layer.triggerRepaint()


# QGIS keeps no hold of them, and calls them when the algorithm is long gone: one of each kind, for as long as we are loaded.
_STYLES = {name: _Style(name) for name in (DETECTIONS, MATCHES)}
