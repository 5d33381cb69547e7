"""The field that holds what people decided, and how it is written.

Outside of an edit session a decision goes to the file at once: nothing is lost where QGIS is closed or crashes. In an edit
session it goes through the layer's edit buffer: it stands in QGIS's own list of undo steps beside the other edits, and is saved
or discarded with them. The field itself is never added in an edit session: whoever discards that session would lose the field
and all decisions, and adding it behind the session's back would move the fields that it counts on.
"""

from __future__ import annotations

from collections.abc import Iterator

from qgis.core import QgsFeatureRequest, QgsVectorDataProvider, QgsVectorLayer

from qgis_maskdino.layers.polygon_file import fields_of
from qgis_maskdino.review.order import STATUSES
from qgis_maskdino.translation import tr

STATUS_FIELD = "status"
_WRITTEN_WHOLE = ("FlatGeobuf", "GeoJSON")  # GDAL writes the whole file anew at each change
_LENGTH = max(map(len, STATUSES))
_TEXTS = ("string", "text", "char")  # what providers call a field of text
_CAN = QgsVectorDataProvider.Capability


def has_status(layer: QgsVectorLayer) -> bool:
    """Return whether a layer has the field."""
    return layer.fields().indexOf(STATUS_FIELD) >= 0


def why_not_written(layer: QgsVectorLayer) -> str:
    """Return why no decision can be kept in a layer; empty where nothing speaks against it."""
    needed = _CAN.ChangeAttributeValues if has_status(layer) else _CAN.ChangeAttributeValues | _CAN.AddAttributes
    can = layer.dataProvider().capabilities() & needed == needed
    if layer.readOnly() or not can or layer.storageType().startswith(_WRITTEN_WHOLE):
        text = tr("Single features of {} cannot be changed. Export the layer to a GeoPackage and review that one.")
        return text.format(layer.name())
    if not has_status(layer):
        return _why_not_added(layer)
    place = layer.fields().indexOf(STATUS_FIELD)
    field = layer.fields().at(place)
    if not any(text in field.typeName().lower() for text in _TEXTS):
        return tr("The field 'status' of {} holds no text. Rename the field for a review.").format(layer.name())
    foreign = next((each for each in layer.uniqueValues(place) if status_of(each) not in STATUSES), None)
    if foreign is not None:
        text = tr("The field 'status' of {layer} holds '{value}', which no review writes. Rename the field for a review.")
        return text.format(layer=layer.name(), value=foreign)
    if 0 < field.length() < _LENGTH:
        return tr("The field 'status' of {} is too short. Rename the field for a review.").format(layer.name())
    return ""


def add_status(layer: QgsVectorLayer) -> bool:
    """Add the field to a layer that is not being edited; return whether that went well."""
    added = layer.dataProvider().addAttributes(fields_of(f"{STATUS_FIELD}:string({_LENGTH})").toList())
    layer.updateFields()
    return added and has_status(layer)


def write_status(layer: QgsVectorLayer, fid: int, status: str) -> bool:
    """Write a decision; return whether that went well. The layer tells of it as of any change of an attribute."""
    field = layer.fields().indexOf(STATUS_FIELD)
    value = status or None
    if layer.isEditable():
        return layer.changeAttributeValue(fid, field, value)
    if not layer.dataProvider().changeAttributeValues({fid: {field: value}}):
        return False
    layer.attributeValueChanged.emit(fid, field, value)  # an open attribute table follows
    return True


def status_of(value: object) -> str:
    """Return the status that a value of the field stands for; NULL is an open one."""
    return value if isinstance(value, str) else ""


def scores_and_statuses(layer: QgsVectorLayer, score_field: str) -> Iterator[tuple[int, float, str]]:
    """Yield feature id, score and status of each feature that has a score."""
    request = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry)
    request.setSubsetOfAttributes([score_field, STATUS_FIELD], layer.fields())
    score, status = layer.fields().indexOf(score_field), layer.fields().indexOf(STATUS_FIELD)
    for feature in layer.getFeatures(request):
        value = feature.attribute(score)
        if isinstance(value, (int, float)) and value == value:  # neither NULL nor not a number
            yield feature.id(), float(value), status_of(feature.attribute(status))


def _why_not_added(layer: QgsVectorLayer) -> str:
    if layer.isEditable():
        text = tr("{} is being edited. Save or discard that first: the review adds the field 'status'.")
        return text.format(layer.name())
    return ""
