"""What people accepted, as a layer of its own."""

from __future__ import annotations

import os

from qgis.core import QgsFeatureRequest, QgsVectorLayer

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.layers.detections import SCORE_FIELD, mark_as_detections, mark_as_reviewed
from qgis_maskdino.layers.polygon_file import write_polygons
from qgis_maskdino.layers.results import open_result
from qgis_maskdino.layers.style import DETECTIONS
from qgis_maskdino.review.review import Review
from qgis_maskdino.translation import tr


def write_accepted(review: Review, path: str, *, with_open: bool = False) -> QgsVectorLayer:
    """Write the accepted detections to a new GeoPackage, with all their fields, and open it.

    Args:
        review: whose decisions count; edits of its layer that are not saved yet are written too.
        path: a .gpkg that is not there yet.
        with_open: those too that are shown and that nobody has decided about. The layer is then one of detections still;
            otherwise it is one of annotations, which a model may be trained on.

    Raises:
        EngineError: it cannot be written; nothing is left at the path.
    """
    layer = review.layer
    fields = [field for field in layer.fields() if field.name().lower() != "fid"]  # which the file has of its own
    request = QgsFeatureRequest().setFilterFids(review.accepted(with_open=with_open))
    try:
        write_polygons(layer.getFeatures(request), layer.crs(), path, fields=fields)
    except EngineError:
        if os.path.exists(path):
            os.remove(path)
        raise
    style = DETECTIONS if layer.fields().indexOf(SCORE_FIELD) >= 0 else None  # it draws by that field
    written = open_result(path, name=tr("Accepted of {}").format(layer.name()), style=style)
    if written is None:
        raise EngineError(tr("{path} was written, but QGIS cannot open it.").format(path=path), code="output")
    if with_open:
        mark_as_detections(written)
    else:
        mark_as_reviewed(written)
    return written
