"""Compare a layer of detections with a layer of annotations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import ProjError

from engine.errors import ArgumentError, VectorError
from engine.vector.area_file import read_polygons
from engine.vector.polygon_file import PolygonLayer, read_layer
from engine.vector.polygon_index import PolygonIndex
from engine.vector.reprojection import to_raster_crs
from engine.vector.valid_polygons import polygons_in
from training.evaluation.average_precision import IOU_THRESHOLDS, Curve, precision_recall
from training.evaluation.layers.fields import (
    CLASS_FIELDS,
    SCORE_FIELDS,
    LayerClasses,
    find_field,
    find_fields,
    scores_of,
)
from training.evaluation.layers.figures import LayerFigures, ShapeAgreement, compare_shapes, figures_of
from training.evaluation.layers.ground_plane import GroundPlane
from training.evaluation.layers.overlaps import find_overlaps
from training.evaluation.layers.shape_agreement import BOUNDARY_WIDTH
from training.evaluation.matching import match

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LayerEvaluation:
    """What the comparison of two layers gave. Rows of both are those inside the area.

    Attributes:
        detections, annotations: the layers as they came.
        detected, annotated: the same footprints on the ground plane, (N,) and (M,).
        scores: (N,) of the detections.
        score_field: where they came from; None without scores.
        classes: of the detections and the annotations; None where classes are not told apart.
        matched: (N,) row of the annotation at IoU 0.5, -1 where there is none.
        detection_iou: (N,) IoU with the match, else the largest with any annotation.
        annotation_iou: (M,) the same, the other way round.
        curve: precision and recall at IoU 0.5.
        shapes: of the matched pairs, the annotations that they are matched with among them.
        figures: what it comes to, all classes together.
        by_class: the same for each class, by its name; empty where classes are not told apart.
        plane: on which all was measured.
        area: the polygons of the area on the plane; None without one.
        boundary_width: of boundary IoU.
        warnings: what a reader of the figures has to know.
    """

    detections: PolygonLayer
    annotations: PolygonLayer
    detected: np.ndarray
    annotated: np.ndarray
    scores: np.ndarray
    score_field: str | None
    classes: LayerClasses | None
    matched: np.ndarray
    detection_iou: np.ndarray
    annotation_iou: np.ndarray
    curve: Curve
    shapes: ShapeAgreement
    figures: LayerFigures
    by_class: dict[str, LayerFigures]
    plane: GroundPlane
    area: np.ndarray | None
    boundary_width: float
    warnings: tuple[str, ...]

    @property
    def unit(self) -> str:
        """Of lengths: metres, or whatever the layers' own coordinates count."""
        return "m" if self.plane.metres else "units"

    @property
    def missed(self) -> np.ndarray:
        """Rows of the annotations without a match."""
        found = np.zeros(len(self.annotated), dtype=bool)
        found[self.matched[self.matched >= 0]] = True
        return np.flatnonzero(~found)


def evaluate_layers(
    detections: str | Path,
    annotations: str | Path,
    *,
    aoi: str | Path | None = None,
    score_field: str | None = None,
    class_field: str | None = None,
    annotated_class_field: str | None = None,
    boundary_width: float = BOUNDARY_WIDTH,
    progress: Callable[[float], None] = lambda share: None,
) -> LayerEvaluation:
    """Compare the footprints of two vector files, each feature one building, or one object of a class.

    Where both layers have a field of classes, a detection matches annotations of its own class alone.

    Args:
        detections, annotations: anything that OGR reads, and GeoParquet, in any CRS; ``FILE|layername=NAME`` names a layer.
        aoi: an area; of both layers only what lies inside by more than half of its footprint counts.
        score_field: of the detections; by default one of ``SCORE_FIELDS``. Without scores all are taken for equally sure.
        class_field: field with the class's name, upper and lower case aside; by default ``class``, if both layers have it.
        annotated_class_field: the same field of the annotations, where they call it otherwise.
        boundary_width: of boundary IoU, metres.
        progress: called with the share done; what it raises ends the work.

    Raises:
        VectorError: a file cannot be read, or has no place on the ground of the other.
        ArgumentError: there is no such field of scores or classes, or the scores are no numbers; the width is none.
    """
    if not boundary_width > 0:
        raise ArgumentError(f"boundary_width is {boundary_width:g}.", hint="Give metres above 0.")
    progress(0.0)
    warnings = _Warnings()
    score_names = {"wanted": score_field, "among": SCORE_FIELDS, "what": "score", "path": detections}
    class_names = {"wanted": class_field, "among": CLASS_FIELDS, "what": "class", "path": detections}
    annotated_names = {**class_names, "wanted": annotated_class_field or class_field, "path": annotations}
    found = read_layer(detections, role="detections", fields=lambda names: find_fields(names, score_names, class_names))
    there = read_layer(annotations, role="annotations", fields=lambda names: find_fields(names, annotated_names))
    score_field = find_field(list(found.fields), **score_names)
    scores = _scores(found, score_field, warnings)
    classes = LayerClasses.of(
        found, find_field(list(found.fields), **class_names), there, find_field(list(there.fields), **annotated_names)
    )
    if classes is None and class_field is None and find_field(list(found.fields), **class_names):
        warnings.add(f"{there.name} has no field of classes: those of the detections are not told apart.")
    found_crs, there_crs = _common_crs(found, there, warnings)
    plane = GroundPlane.around(*((there.geometries, there_crs) if len(there) else (found.geometries, found_crs)))
    if not plane.metres:
        warnings.add("No CRS places the layers on Earth: lengths and areas are in their own units.")
    detected = plane.bring(found.geometries, found_crs, name=found.name)
    annotated = plane.bring(there.geometries, there_crs, name=there.name)
    area = None if aoi is None else _area(aoi, plane, there_crs, np.concatenate([detected, annotated]), warnings)
    kept, known = _inside(area, detected), _inside(area, annotated)
    if area is not None:
        logger.info(
            "Inside the area: %d of %d detections, %d of %d annotations.", len(kept), len(found), len(known), len(there)
        )
    found, there = found.only(kept), there.only(known)
    detected, annotated, scores = detected[kept], annotated[known], scores[kept]
    classes = None if classes is None else classes.only(kept, known)
    if len(detected) and len(annotated) and not _meet(detected, annotated):
        warnings.add("The two layers show different ground: no detection comes near any annotation.")
    if not len(annotated):
        warnings.add("There are no annotations: recall and average precision mean nothing.")

    overlaps = find_overlaps(detected, annotated, progress=lambda share: progress(0.4 * share))
    of_one_class = overlaps if classes is None else overlaps.only(classes.agree(overlaps.detection, overlaps.annotation))
    matches = [match(of_one_class, scores, annotations=len(annotated), threshold=threshold) for threshold in IOU_THRESHOLDS]
    curves = _curves(matches, scores, annotations=len(annotated))
    matched = matches[0]
    detection_iou, annotation_iou = overlaps.best(detections=len(detected), annotations=len(annotated))
    pair = matched[overlaps.detection] == overlaps.annotation
    detection_iou[overlaps.detection[pair]] = overlaps.iou[pair]
    annotation_iou[overlaps.annotation[pair]] = overlaps.iou[pair]
    shapes = compare_shapes(
        detected, annotated, matched=matched, iou=detection_iou, boundary_width=boundary_width,
        progress=lambda share: progress(0.4 + 0.6 * share),
    )  # fmt: skip
    figures = figures_of(detected, annotated, curves=curves, shapes=shapes)
    by_class = {}
    for name in () if classes is None else classes.names:
        ours, theirs = classes.detected == name, classes.annotated == name
        by_class[name] = figures_of(
            detected[ours], annotated[theirs], shapes=shapes.only(ours[shapes.detection]),
            curves=_curves([matched[ours] for matched in matches], scores[ours], annotations=int(theirs.sum())),
        )  # fmt: skip
    return LayerEvaluation(
        detections=found, annotations=there, detected=detected, annotated=annotated, scores=scores,
        score_field=score_field, classes=classes, matched=matched, by_class=by_class,
        detection_iou=detection_iou, annotation_iou=annotation_iou, curve=curves[0], shapes=shapes, figures=figures,
        plane=plane, area=None if area is None else area.polygons, boundary_width=boundary_width, warnings=tuple(warnings),
    )  # fmt: skip


class _Warnings(list[str]):
    def add(self, text: str) -> None:
        logger.warning("%s", text)
        self.append(text)


def _curves(matches: Sequence[np.ndarray], scores: np.ndarray, *, annotations: int) -> list[Curve]:
    return [precision_recall(matched >= 0, scores, annotations=annotations) for matched in matches]


def _scores(layer: PolygonLayer, field: str | None, warnings: _Warnings) -> np.ndarray:
    if field is None:
        warnings.add(
            "The detections have no scores: all are taken for equally sure, so that average precision depends on their order."
        )
        return np.ones(len(layer))
    scores, unknown = scores_of(layer, field)
    if unknown:
        warnings.add(f"{unknown} detections have no {field}: they come last.")
    return scores


def _common_crs(found: PolygonLayer, there: PolygonLayer, warnings: _Warnings) -> tuple[Any, Any]:
    """Return the CRS of each layer; a layer without one takes the other's."""
    if (found.crs is None) != (there.crs is None):
        bare, other = (found, there) if found.crs is None else (there, found)
        warnings.add(f"{bare.name} has no CRS; its coordinates are taken for those of {other.name}.")
        return other.crs, other.crs
    local = [layer for layer in (found, there) if layer.crs and pyproj.CRS.from_user_input(layer.crs).geodetic_crs is None]
    if len(local) == 1:
        raise VectorError(f"{local[0].name} has a local CRS, which lies nowhere on Earth.", hint="Georeference it.")
    return found.crs, there.crs


def _area(aoi: str | Path, plane: GroundPlane, layers_crs: Any, footprints: np.ndarray, warnings: _Warnings) -> PolygonIndex:
    area, crs = read_polygons(aoi)
    if (crs is None) != (layers_crs is None):
        bare = f"area {aoi} has" if crs is None else "The layers have"
        warnings.add(f"{bare} no CRS; its coordinates are taken for those of the {'layers' if crs is None else 'area'}.")
    if plane.crs is None:
        return PolygonIndex(polygons_in(plane.bring(area, crs, name=str(aoi))))
    crs = layers_crs if crs is None else crs
    bounds = shapely.total_bounds(footprints)
    left, bottom, right, top = bounds.tolist() if np.isfinite(bounds).all() else (0.0, 0.0, 0.0, 0.0)
    try:
        around = (left - 1, bottom - 1, right + 1, top + 1)
        area = to_raster_crs(area, pyproj.CRS.from_user_input(crs), plane.crs, around)
    except ProjError as error:
        raise VectorError(f"area {aoi} cannot be brought to the ground: {error}.", hint="Save it in another CRS.") from error
    if not len(area):
        warnings.add("The area lies beside both layers.")
    return PolygonIndex(area)


def _inside(area: PolygonIndex | None, footprints: np.ndarray) -> np.ndarray:
    """Return the rows of the footprints that count."""
    has_place = ~shapely.is_empty(footprints)
    if area is not None and len(footprints):
        has_place &= area.holds_most_of(footprints)
    return np.flatnonzero(has_place)


def _meet(detected: np.ndarray, annotated: np.ndarray) -> bool:
    boxes = [shapely.box(*shapely.total_bounds(layer)) for layer in (detected, annotated)]
    return bool(shapely.intersects(*boxes))
