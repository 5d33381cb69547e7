"""Append features to a layer that is there already, in a file: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsExpression,
    QgsExpressionContext,
    QgsFeature,
    QgsFeatureStore,
    QgsFields,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingOutputLayerDefinition,
    QgsProperty,
    QgsRemappingProxyFeatureSink,
    QgsRemappingSinkDefinition,
    QgsVectorLayer,
    QgsWkbTypes,
)

from qgis_maskdino.layers.output_file import in_file, layer_output, layers_of, opened
from qgis_maskdino.translation import tr


def layers_to_append_to(path: str, fields: Sequence[str]) -> list[str]:
    """Return the layers of a GeoPackage that polygons with some fields can be appended to."""
    return [name for name in layers_of(path) if _takes(opened(layer_output(path, name)), fields)]


def appended_output(path: str, name: str, fields: Sequence[str]) -> QgsProcessingOutputLayerDefinition:
    """Return the output of an algorithm that appends polygons with some fields to a layer of a GeoPackage.

    QGIS brings them into the CRS of that layer; fields that it has besides stay empty.
    """
    layer = opened(layer_output(path, name))
    remapping = QgsRemappingSinkDefinition()
    remapping.setDestinationCrs(layer.crs())
    remapping.setDestinationFields(layer.fields())
    remapping.setDestinationWkbType(layer.wkbType())
    remapping.setFieldMap({field: QgsProperty.fromExpression(QgsExpression.quotedColumnRef(field)) for field in fields})
    definition = QgsProcessingOutputLayerDefinition(layer_output(path, name))
    definition.setRemappingDefinition(remapping)
    return definition


def appends(output: object) -> bool:
    """Return whether the output of an algorithm adds to a layer that is there."""
    return isinstance(output, QgsProcessingOutputLayerDefinition) and output.useRemapping()


def why_not_appended(output: str) -> str:
    """Return why nothing can be appended to an output, before any work; empty where nothing speaks against it."""
    if not in_file(output) or opened(output).isValid():
        return ""
    return tr("There is no layer {path} to append to.").format(path=opened(output).source())


def append(
    features: Iterable[QgsFeature],
    output: str,
    remapping: QgsRemappingSinkDefinition,
    context: QgsProcessingContext,
    *,
    fields: QgsFields,
    crs: QgsCoordinateReferenceSystem,
) -> str:
    """Append features to a layer of a file, all or none: QGIS's own sink makes a transaction of each.

    Args:
        output: the layer, as an algorithm's output names it.
        remapping: how fields and CRS of the layer follow from those of the features.
        fields: of the features.
        crs: of the features.

    Returns:
        Where the layer is, as OGR names it.

    Raises:
        QgsProcessingException: they could not be appended; the layer is as it was.
    """
    if why_not_appended(output):
        raise QgsProcessingException(why_not_appended(output))
    layer = opened(output)
    remapping = QgsRemappingSinkDefinition(remapping)
    remapping.setSourceCrs(crs)
    expressions = QgsExpressionContext(context.expressionContext())
    expressions.setFields(fields)  # that the expressions of the mapping name
    rows = QgsFeatureStore(layer.fields(), layer.crs())
    sink = QgsRemappingProxyFeatureSink(remapping, rows)
    sink.setExpressionContext(expressions)
    sink.setTransformContext(context.transformContext())
    sink.addFeatures(list(features))
    added, _ = layer.dataProvider().addFeatures(rows.features())
    if not added:
        error = layer.dataProvider().lastError() or "; ".join(layer.dataProvider().errors())
        raise QgsProcessingException(tr("Nothing was appended to {path}: {error}.").format(path=layer.source(), error=error))
    return layer.source()


def _takes(layer: QgsVectorLayer, fields: Sequence[str]) -> bool:
    is_of_polygons = layer.isValid() and layer.geometryType() == QgsWkbTypes.GeometryType.PolygonGeometry
    return is_of_polygons and all(layer.fields().indexOf(field) >= 0 for field in fields)
