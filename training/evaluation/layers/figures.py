"""The figures that the comparison of two layers comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import shapely

from training.evaluation.average_precision import IOU_THRESHOLDS, Curve
from training.evaluation.in_chunks import in_chunks
from training.evaluation.layers.shape_agreement import (
    area_errors,
    boundary_ious,
    direction_errors,
    polis_distances,
    vertex_ratios,
)


@dataclass(frozen=True, eq=False)
class ShapeAgreement:
    """How well the outlines of matched pairs agree, (T,) each; see ``shape_agreement``.

    Attributes:
        detection, annotation: rows of the pair.
        iou: intersection over union.
        area_error: relative, with its sign.
        polis: metres.
        boundary_iou: of the strips along the borders.
        vertex_ratio: detected over annotated.
        direction_error: degrees, 0 to 45.
    """

    detection: np.ndarray
    annotation: np.ndarray
    iou: np.ndarray
    area_error: np.ndarray
    polis: np.ndarray
    boundary_iou: np.ndarray
    vertex_ratio: np.ndarray
    direction_error: np.ndarray

    def __len__(self) -> int:
        return len(self.iou)

    def only(self, kept: np.ndarray) -> ShapeAgreement:
        """Return some of the pairs, by a mask (T,)."""
        return ShapeAgreement(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})


@dataclass(frozen=True)
class LayerFigures:
    """How good a layer of detections is. What cannot be said, such as the precision of no detections, is NaN.

    Attributes:
        detections, annotations: how many the figures rest on.
        true_positives: detections matched one to one with an annotation at IoU 0.5.
        false_positives, missed: detections and annotations without a match.
        precision, recall, f1: over all detections, of whatever score.
        best_f1, best_f1_score: the largest F1 that a higher threshold on the score gives, and that score.
        ap50, ap75, ap: average precision at IoU 0.50, at 0.75, and the mean over 0.50, 0.55, ... 0.95.
        mean_iou: of the true positives, as all that follow but the areas.
        area_detected, area_annotated: of all footprints, m2.
        area_error, area_error_absolute: mean of the relative area errors, with and without their signs.
        polis, polis_median: metres.
        boundary_iou, vertex_ratio, direction_error, direction_error_median: means, of degrees the last.
    """

    detections: int
    annotations: int
    true_positives: int
    false_positives: int
    missed: int
    precision: float
    recall: float
    f1: float
    best_f1: float
    best_f1_score: float
    ap50: float
    ap75: float
    ap: float
    mean_iou: float
    area_detected: float
    area_annotated: float
    area_error: float
    area_error_absolute: float
    polis: float
    polis_median: float
    boundary_iou: float
    vertex_ratio: float
    direction_error: float
    direction_error_median: float


def compare_shapes(
    detected: np.ndarray,
    annotated: np.ndarray,
    *,
    matched: np.ndarray,
    iou: np.ndarray,
    boundary_width: float,
    progress: Callable[[float], None] = lambda share: None,
) -> ShapeAgreement:
    """Measure the matched pairs.

    Args:
        detected, annotated: (N,) and (M,) footprints on the ground plane.
        matched: (N,) row of the annotation, -1 where there is none.
        iou: (N,) IoU with it.
        boundary_width: of boundary IoU.
        progress: called with the share done; what it raises ends the work.
    """
    rows = np.flatnonzero(matched >= 0)
    pairs = detected[rows], annotated[matched[rows]]
    measures = (
        area_errors,
        polis_distances,
        vertex_ratios,
        direction_errors,
        lambda first, second: boundary_ious(first, second, width=boundary_width),
    )
    starts = np.array([0.0, 0.05, 0.2, 0.25, 0.35, 1.0])  # of the time that all take
    values = [
        in_chunks(measure, *pairs, progress=lambda share, a=a, b=b: progress(a + share * (b - a)))
        for measure, a, b in zip(measures, starts[:-1], starts[1:], strict=True)
    ]
    area_error, polis, vertex_ratio, direction_error, boundary_iou = values
    return ShapeAgreement(rows, matched[rows], iou[rows], area_error, polis, boundary_iou, vertex_ratio, direction_error)


def figures_of(detected: np.ndarray, annotated: np.ndarray, *, curves: Sequence[Curve], shapes: ShapeAgreement) -> LayerFigures:
    """Sum up; ``curves`` are those of ``IOU_THRESHOLDS``."""
    found, there, right = len(detected), len(annotated), len(shapes)
    best_f1, best_f1_score = curves[0].best_f1() if there else (float("nan"), float("nan"))
    precisions = [curve.average_precision for curve in curves]
    return LayerFigures(
        detections=found,
        annotations=there,
        true_positives=right,
        false_positives=found - right,
        missed=there - right,
        precision=_ratio(right, found),
        recall=_ratio(right, there),
        f1=_ratio(2 * right, found + there),
        best_f1=best_f1,
        best_f1_score=best_f1_score,
        ap50=precisions[0],
        ap75=precisions[int(np.argmin(np.abs(IOU_THRESHOLDS - 0.75)))],
        ap=float(np.mean(precisions)),
        mean_iou=_mean(shapes.iou),
        area_detected=float(shapely.area(detected).sum()),
        area_annotated=float(shapely.area(annotated).sum()),
        area_error=_mean(shapes.area_error),
        area_error_absolute=_mean(np.abs(shapes.area_error)),
        polis=_mean(shapes.polis),
        polis_median=_median(shapes.polis),
        boundary_iou=_mean(shapes.boundary_iou),
        vertex_ratio=_mean(shapes.vertex_ratio),
        direction_error=_mean(shapes.direction_error),
        direction_error_median=_median(shapes.direction_error),
    )


def mean_over_classes(by_class: Mapping[str, LayerFigures], figure: str) -> float:
    """Return the mean of a figure over the classes that have annotations, as COCO averages; NaN where none has."""
    return _mean(np.array([getattr(figures, figure) for figures in by_class.values() if figures.annotations]))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
