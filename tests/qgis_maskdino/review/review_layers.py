"""Layers to review: squares in a row with scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)


def memory_layer(scores: Sequence[float | None], *, fields: str = "field=score:double", **more: Sequence) -> QgsVectorLayer:
    """Return a layer in memory with a square for each score; `more` are values of further fields, which `fields` names."""
    layer = QgsVectorLayer(f"Polygon?crs=EPSG:32633&{fields}", "buildings", "memory")
    features = []
    for number, score in enumerate(scores):
        left, top = 500_005.0 + 10 * (number % 400), 4_999_990.0 - 10 * (number // 400)
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(left, top - 6, left + 6, top)))
        feature.setAttributes([score, *(values[number] for values in more.values())])
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def file_layer(path: Path, scores: Sequence[float | None], *, driver: str = "GPKG") -> QgsVectorLayer:
    """Write such a layer to a file and open it."""
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = driver
    written = QgsVectorFileWriter.writeAsVectorFormatV3(
        memory_layer(scores), str(path), QgsCoordinateTransformContext(), options
    )
    assert written[0] == QgsVectorFileWriter.WriterError.NoError, written
    return QgsVectorLayer(str(path), "buildings", "ogr")


def in_project(layer: QgsVectorLayer) -> QgsVectorLayer:
    """Add a layer to the project and return it."""
    QgsProject.instance().addMapLayer(layer)
    return layer


def statuses(layer: QgsVectorLayer) -> dict[float, str | None]:
    """Return the status of each score as the layer shows it."""
    place = layer.fields().indexOf("status")
    found = {}
    for feature in layer.getFeatures():
        value = feature.attribute(place)
        found[feature.attribute("score")] = value if isinstance(value, str) else None
    return found
