"""The styles of our layers: they load, draw every feature, and can be told apart on an image."""

from __future__ import annotations

import pytest
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

from qgis_maskdino.layers import style
from qgis_maskdino.layers.style import DETECTIONS, MATCHES, apply_style, style_file

pytestmark = pytest.mark.usefixtures("qgis_app")

GROUND = QColor(90, 95, 85)
SIDE = 60  # pixels of a square


def drawn(name: str, fields: str, rows: list[tuple]) -> list[QColor]:
    """Draw a square a row, and return the colour of each outline."""
    layer = QgsVectorLayer(f"Polygon?crs=EPSG:32633&{fields}", "layer", "memory")
    features = []
    for number, row in enumerate(rows):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(number * SIDE + 10, 10, number * SIDE + 50, 50)))
        feature.setAttributes(list(row))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    said, ok = layer.loadNamedStyle(style_file(name))
    assert ok, said
    apply_style(layer, name)
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(QgsRectangle(0, 0, SIDE * len(rows), SIDE))
    settings.setOutputSize(QSize(SIDE * len(rows), SIDE))
    settings.setBackgroundColor(GROUND)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    # The clearest pixel of the left edge: it may be dashed.
    edges = [[image.pixelColor(number * SIDE + 10, row) for row in range(12, 48)] for number in range(len(rows))]
    outline = [max(edge, key=lambda colour: distance(colour, GROUND)) for edge in edges]
    middle = [image.pixelColor(number * SIDE + SIDE // 2, SIDE // 2) for number in range(len(rows))]
    assert all(distance(colour, GROUND) > 60 for colour in outline), "an outline is seen on any ground"
    # What is below stays visible: a fill that hides the roof cannot be checked.
    assert all(distance(colour, GROUND) < 150 for colour in middle)
    return outline


def distance(one: QColor, other: QColor) -> int:
    return max(abs(a - b) for a, b in zip(one.getRgb()[:3], other.getRgb()[:3], strict=True))


def test_every_score_is_drawn_and_classes_differ():
    outlines = drawn(DETECTIONS, "field=score:double&field=area_m2:double", [(s, 50.0) for s in (0.0, 0.3, 0.6, 0.8, 1.0)])
    assert outlines[0] == outlines[1]
    classes = outlines[1:]
    assert all(distance(a, b) > 40 for i, a in enumerate(classes) for b in classes[:i])


@pytest.mark.parametrize("count", [2, 8])
def test_every_class_has_a_colour_of_its_own_whatever_the_score(count):
    fields = "field=score:double&field=class:string&field=area_m2:double"
    rows = [(score, f"class {number}", 50.0) for number in range(count) for score in (0.1, 0.9)]
    outlines = drawn(DETECTIONS, fields, rows)
    unsure, sure = outlines[::2], outlines[1::2]
    assert unsure == sure
    assert all(distance(a, b) > 40 for i, a in enumerate(sure) for b in sure[:i])


def test_hits_false_detections_and_misses_differ():
    rows = [("true positive", 0.8, 0.9), ("false positive", 0.1, 0.9), ("miss", 0.0, None)]
    outlines = drawn(MATCHES, "field=result:string&field=iou:double&field=score:double", rows)
    assert all(distance(a, b) > 60 for i, a in enumerate(outlines) for b in outlines[:i])


def test_the_legend_of_an_evaluation_is_translated(monkeypatch):
    monkeypatch.setattr(style, "tr", lambda text: f"«{text}»")
    layer = QgsVectorLayer("Polygon?field=result:string", "matches", "memory")
    apply_style(layer, MATCHES)
    legend = {category.value(): category.label() for category in layer.renderer().categories()}
    assert legend == {"true positive": "«Hit»", "false positive": "«False detection»", "miss": "«Missed building»"}
