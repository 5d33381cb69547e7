"""Know a layer of detections from one of annotations, and the newest of them."""

from __future__ import annotations

from datetime import datetime, timezone

from qgis.core import QgsMapLayer, QgsVectorLayer

_DETECTED_AT = "maskdino/detected_at"  # a custom property, which is saved with the project
_REVIEWED = "maskdino/reviewed"
SCORE_FIELD = "score"
AREA_FIELD = "area_m2"


def mark_as_detections(layer: QgsVectorLayer) -> None:
    """Note in a layer that it was detected, and that it was now."""
    layer.setCustomProperty(_DETECTED_AT, datetime.now(timezone.utc).isoformat())


def mark_as_reviewed(layer: QgsVectorLayer) -> None:
    """Note in a layer that people accepted each of its polygons: they are annotations now."""
    layer.setCustomProperty(_REVIEWED, True)


def detected_at(layer: QgsVectorLayer) -> str:
    """Return when a layer was detected, in a form that sorts by time; empty where nobody noted it."""
    return str(layer.customProperty(_DETECTED_AT) or "")


def is_detections(layer: QgsMapLayer | None) -> bool:
    """Return whether a layer was made by a model and nobody reviewed it: it says so, or its polygons have scores."""
    if not isinstance(layer, QgsVectorLayer) or layer.customProperty(_REVIEWED):
        return False
    return bool(detected_at(layer)) or layer.fields().lookupField(SCORE_FIELD) >= 0
