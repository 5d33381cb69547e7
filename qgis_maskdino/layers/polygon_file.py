"""Write polygons of any vector layer (in memory, in a database, selected ones) to a file that the engine reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.translation import tr

BATCH = 1000  # features


def write_polygons(
    features: Iterable[QgsFeature],
    crs: QgsCoordinateReferenceSystem,
    path: str,
    *,
    within: QgsGeometry | None = None,
    fields: Sequence[QgsField] = (),
) -> QgsRectangle:
    """Write the polygons among some features, each with its feature id as ``fid``.

    Args:
        features: of any geometry; others than polygons are left out.
        crs: theirs.
        path: a .gpkg that is not there yet.
        within: cut to this; in the same CRS.
        fields: of the features, to be kept.

    Returns:
        The rectangle around what was written; empty where nothing was.

    Raises:
        EngineError: the file cannot be written.
    """
    columns = fields_of("fid:int8")
    for field in fields:
        columns.append(QgsField(field))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    writer = QgsVectorFileWriter.create(
        path, columns, QgsWkbTypes.Type.MultiPolygon, crs, QgsCoordinateTransformContext(), options
    )
    bounds = QgsRectangle()
    bounds.setMinimal()
    batch: list[QgsFeature] = []
    for feature in features:
        geometry = _polygon(feature, within)
        if geometry is None:
            continue
        bounds.combineExtentWith(geometry.boundingBox())
        row = QgsFeature(columns)
        row.setGeometry(geometry)
        row.setAttributes([feature.id(), *(feature[field.name()] for field in fields)])
        batch.append(row)
        if len(batch) == BATCH:
            writer.addFeatures(batch, QgsFeatureSink.Flag.FastInsert)
            batch = []
    writer.addFeatures(batch, QgsFeatureSink.Flag.FastInsert)
    writer.flushBuffer()
    if writer.hasError() != QgsVectorFileWriter.WriterError.NoError:
        raise EngineError(
            tr("{path} cannot be written: {error}.").format(path=path, error=writer.errorMessage()), code="output"
        )
    del writer  # closes the file
    return bounds if not bounds.isNull() else QgsRectangle()


def fields_of(*definitions: str) -> QgsFields:
    """Return fields by what they are called and hold, such as ``score:double``.

    The constructor of a field takes other types in QGIS 3 and in QGIS 4; the words of a memory layer are the same.
    """
    columns = "&".join(f"field={definition}" for definition in definitions)
    return QgsVectorLayer(f"Polygon?{columns}", "fields", "memory").fields()


def copied_features(layer: QgsVectorLayer, fields: QgsFields) -> Iterator[QgsFeature]:
    """Yield a layer's features with some of its fields."""
    names = fields.names()
    for feature in layer.getFeatures():
        row = QgsFeature(fields)
        row.setGeometry(feature.geometry())
        row.setAttributes([feature[name] for name in names])
        yield row


def has_polygon(feature: QgsFeature) -> bool:
    """Return whether a feature has a polygon, one with several parts included."""
    geometry = feature.geometry()
    return not geometry.isEmpty() and geometry.type() == QgsWkbTypes.GeometryType.PolygonGeometry


def _polygon(feature: QgsFeature, within: QgsGeometry | None) -> QgsGeometry | None:
    if not has_polygon(feature):
        return None
    geometry = QgsGeometry(feature.geometry())
    if within is not None:
        geometry = geometry.makeValid().intersection(within)
        if geometry.isEmpty() or geometry.type() != QgsWkbTypes.GeometryType.PolygonGeometry:
            return None
    geometry.convertToMultiType()
    return geometry
