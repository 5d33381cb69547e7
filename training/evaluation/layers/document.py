"""The comparison of two layers as JSON and as a text for the terminal."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from engine.distribution import version
from training.evaluation.average_precision import IOU_THRESHOLDS
from training.evaluation.layers.evaluation import LayerEvaluation
from training.evaluation.layers.figures import mean_over_classes
from training.evaluation.tables import finite_or_none

FORMAT = 1


def evaluation_document(evaluation: LayerEvaluation) -> dict[str, Any]:
    """Return what a machine may want to know; what cannot be said is None."""
    by_class = evaluation.by_class
    of_classes = {
        "by_class": {name: _finite(asdict(figures)) for name, figures in by_class.items()},
        "mean_over_classes": {name: finite_or_none(mean_over_classes(by_class, name)) for name in ("ap50", "ap75", "ap")},
    }
    return {
        "format": FORMAT,
        "program": f"maskdino {version()}",
        "detections": {
            "path": evaluation.detections.path,
            "features": evaluation.detections.features,
            "mended": evaluation.detections.mended,
            "score_field": evaluation.score_field,
            **_class_field(evaluation, 0),
        },
        "annotations": {
            "path": evaluation.annotations.path,
            "features": evaluation.annotations.features,
            "mended": evaluation.annotations.mended,
            **_class_field(evaluation, 1),
        },
        "plane": evaluation.plane.crs.srs if evaluation.plane.crs is not None else None,
        "unit": evaluation.unit,
        "iou_thresholds": [round(float(threshold), 2) for threshold in IOU_THRESHOLDS],
        "boundary_width": evaluation.boundary_width,
        "figures": _finite(asdict(evaluation.figures)),
        **(of_classes if by_class else {}),
        "warnings": list(evaluation.warnings),
    }


def _class_field(evaluation: LayerEvaluation, layer: int) -> dict[str, str]:
    return {} if evaluation.classes is None else {"class_field": evaluation.classes.fields[layer]}


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: finite_or_none(value) for name, value in figures.items()}


def summary_rows(evaluation: LayerEvaluation) -> list[tuple[str, str]]:
    """Return the figures with their names for a person."""
    figures, unit = evaluation.figures, evaluation.unit
    return [
        ("detections", f"{figures.detections:,}"),
        ("annotations", f"{figures.annotations:,}"),
        ("matched at IoU 0.5", f"{figures.true_positives:,}"),
        ("false positives", f"{figures.false_positives:,}"),
        ("missed", f"{figures.missed:,}"),
        ("precision", _share(figures.precision)),
        ("recall", _share(figures.recall)),
        ("F1", _share(figures.f1)),
        ("best F1", f"{_share(figures.best_f1)}, of the detections scored {_number(figures.best_f1_score)} or more"),
        ("AP at IoU 0.50", _share(figures.ap50)),
        ("AP at IoU 0.75", _share(figures.ap75)),
        ("AP over 0.50 to 0.95", _share(figures.ap)),
        ("area", f"{figures.area_detected:,.0f} {unit}2 detected, {figures.area_annotated:,.0f} {unit}2 annotated"),
        ("IoU of matches", _share(figures.mean_iou)),
        ("area error of matches", f"{_number(100 * figures.area_error, '+.1f')} %, without sign "
                                  f"{_number(100 * figures.area_error_absolute, '.1f')} %"),
        ("PoLiS distance", f"{_number(figures.polis, '.2f')} {unit}, median {_number(figures.polis_median, '.2f')} {unit}"),
        (f"boundary IoU, {evaluation.boundary_width:g} {unit}", _share(figures.boundary_iou)),
        ("vertices, ratio", _number(figures.vertex_ratio, ".2f")),
        ("main direction", f"{_number(figures.direction_error, '.1f')} degrees off, "
                           f"median {_number(figures.direction_error_median, '.1f')}"),
    ]  # fmt: skip


def class_table(evaluation: LayerEvaluation) -> list[tuple[str, ...]]:
    """Return the figures by class for a person, the first row naming the columns; nothing where classes are not told apart."""
    by_class = evaluation.by_class
    if not by_class:
        return []
    rows = [
        (
            name, f"{figures.detections:,}", f"{figures.annotations:,}", _share(figures.precision), _share(figures.recall),
            _share(figures.f1), _share(figures.ap50), _share(figures.ap), _share(figures.mean_iou),
        )
        for name, figures in by_class.items()
    ]  # fmt: skip
    means = tuple(_share(mean_over_classes(by_class, name)) for name in ("ap50", "ap"))
    return [
        ("class", "detections", "annotations", "precision", "recall", "F1", "AP50", "AP", "IoU of matches"),
        *rows,
        ("mean over classes", "", "", "", "", "", *means, ""),
    ]


def _share(value: float) -> str:
    return _number(value, ".3f")


def _number(value: float, form: str = ".3g") -> str:
    return format(value, form) if math.isfinite(value) else "-"
