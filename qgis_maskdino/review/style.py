"""How a layer looks while it is reviewed: accepted, rejected and open are told apart, and a score hides what is below it.

The look is a style of its own in QGIS's list of the layer's styles. The layer's own style is neither changed nor lost, even
where the project is saved in the middle of a review. The score is a filter of the rules, not of the layer: it works on every
provider, in an edit session too (a filter of the layer does not), and no export sees less of the layer because of it.
"""

from __future__ import annotations

from qgis.core import QgsExpression, QgsFillSymbol, QgsRuleBasedRenderer, QgsSimpleFillSymbolLayer, QgsVectorLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor

from qgis_maskdino.review.order import ACCEPTED, REJECTED
from qgis_maskdino.review.status_field import STATUS_FIELD
from qgis_maskdino.translation import tr

STYLE = "Mask DINO review"  # in the list of the layer's styles
_GREEN, _RED, _YELLOW = QColor(27, 190, 120), QColor(255, 80, 40), QColor(250, 225, 60)
_CASING = QColor(20, 25, 25, 190)  # around each line, so that it is seen on light ground too
_LINE, _AROUND = 0.5, 1.1  # millimetres


class ReviewStyle:
    """Puts the look on a layer, and takes it off again."""

    def __init__(self, layer: QgsVectorLayer, score_field: str) -> None:
        self._layer = layer
        self._score_field = score_field
        styles = layer.styleManager()
        own = [name for name in styles.styles() if name != STYLE]
        # A project that was saved in a review opens with the look of it.
        self._before = own[0] if styles.currentStyle() == STYLE else styles.currentStyle()
        if STYLE not in styles.styles():
            styles.addStyleFromLayer(STYLE)
        styles.setCurrentStyle(STYLE)

    def show_from(self, score: float) -> None:
        """Show accepted detections, and of the others those that have at least a score."""
        self._layer.setRenderer(_renderer(self._score_field, score))
        self._layer.triggerRepaint()

    def remove(self) -> None:
        """Give the layer its own style back; one that the user chose meanwhile stays."""
        styles = self._layer.styleManager()
        if styles.currentStyle() == STYLE and self._before in styles.styles():
            styles.setCurrentStyle(self._before)
        if styles.currentStyle() != STYLE:
            styles.removeStyle(STYLE)
        self._layer.triggerRepaint()


def _renderer(score_field: str, score: float) -> QgsRuleBasedRenderer:
    status, shown = QgsExpression.quotedColumnRef(STATUS_FIELD), f"{QgsExpression.quotedColumnRef(score_field)} >= {score!r}"
    root = QgsRuleBasedRenderer.Rule(None)
    for symbol, label, rule in (
        (_symbol(_GREEN, fill=70), tr("Accepted"), f"{status} = '{ACCEPTED}'"),
        (_symbol(_RED, dashed=True), tr("Rejected"), f"{status} = '{REJECTED}' AND {shown}"),
        (_symbol(_YELLOW, fill=25), tr("Open"), f"({status} IS NULL OR {status} = '') AND {shown}"),
    ):
        root.appendChild(QgsRuleBasedRenderer.Rule(symbol, 0, 0, rule, label))
    return QgsRuleBasedRenderer(root)


def _symbol(colour: QColor, *, fill: int = 0, dashed: bool = False) -> QgsFillSymbol:
    """Return a line in a colour on a wider dark one; rejected ones are dashed for those who see no red and green."""
    casing = QgsSimpleFillSymbolLayer(QColor(0, 0, 0, 0), Qt.BrushStyle.NoBrush, _CASING)
    casing.setStrokeWidth(_AROUND)
    inside = QColor(colour)
    inside.setAlpha(fill)
    line = QgsSimpleFillSymbolLayer(inside, Qt.BrushStyle.SolidPattern, colour)
    line.setStrokeWidth(_LINE)
    if dashed:
        line.setStrokeStyle(Qt.PenStyle.DashLine)
    symbol = QgsFillSymbol()
    symbol.changeSymbolLayer(0, casing)
    symbol.appendSymbolLayer(line)
    return symbol
