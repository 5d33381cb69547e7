"""One page that says how good a layer is, with everything that it needs inside."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyproj
import shapely

from training.evaluation.layers.document import class_table, summary_rows
from training.evaluation.layers.evaluation import LayerEvaluation
from training.evaluation.report.charts import Axis, bar_chart, curve_chart, round_axis
from training.evaluation.report.map import CloseLooks, map_picture
from training.reports.rendering import render

MISSES = 12
_SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)


def write_report(evaluation: LayerEvaluation) -> str:
    """Return the page as HTML."""
    figures = evaluation.figures
    headline = (
        ("precision", figures.precision), ("recall", figures.recall), ("F1", figures.f1), ("AP50", figures.ap50),
        ("AP", figures.ap), ("IoU of matches", figures.mean_iou),
    )  # fmt: skip
    return render(
        "evaluation.html",
        detections=evaluation.detections,
        annotations=evaluation.annotations,
        figures=figures,
        inside_area=evaluation.area is not None,
        date=datetime.date.today().isoformat(),
        warnings=evaluation.warnings,
        headline=[(name, _share(value)) for name, value in headline],
        map=map_picture(evaluation),
        charts=_charts(evaluation),
        missed=len(evaluation.missed),
        misses=_misses(evaluation),
        class_rows=class_table(evaluation),
        rows=summary_rows(evaluation),
    )


def _charts(evaluation: LayerEvaluation) -> list[str]:
    curve, shapes, unit = evaluation.curve, evaluation.shapes, evaluation.unit
    charts = []
    if len(curve.recall) and evaluation.figures.annotations:
        mark = (evaluation.figures.recall, evaluation.figures.precision)
        charts.append(
            curve_chart(
                curve.recall, curve.precision, across=Axis("recall", 0, 1, _SHARES), up=Axis("precision", 0, 1, _SHARES),
                title="Precision and recall at IoU 0.5; the circle is the whole layer", mark=mark,
            )
        )  # fmt: skip
    scores = evaluation.scores[np.isfinite(evaluation.scores)]
    if len(np.unique(scores)) > 1:
        low, high = float(scores.min()), float(scores.max())
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
        kept = np.isfinite(evaluation.scores)
        groups = [
            ("right", "right", evaluation.scores[kept & (evaluation.matched >= 0)]),
            ("false positive", "wrong", evaluation.scores[kept & (evaluation.matched < 0)]),
        ]
        across = Axis("score", low, high, np.linspace(low, high, 6), form=".3g")
        charts.append(bar_chart(groups, np.linspace(low, high, 26), across=across, title="Scores", counted="detections"))
    if len(shapes):
        across = Axis("IoU with the annotation", 0.5, 1, (0.5, 0.6, 0.7, 0.8, 0.9, 1))
        edges = np.linspace(0.5, 1, 26)
        charts.append(bar_chart([("", "right", shapes.iou)], edges, across=across, title="IoU of matches", counted="matches"))
        across = round_axis(f"PoLiS distance, {unit}", max(float(np.quantile(shapes.polis, 0.98)), 0.1))
        edges = np.linspace(0, across.high, 26)
        charts.append(bar_chart([("", "right", shapes.polis)], edges, across=across, title="PoLiS", counted="matches"))
    if len(evaluation.annotated):
        charts.append(_sizes(evaluation))
    return charts


def _sizes(evaluation: LayerEvaluation) -> str:
    areas = shapely.area(evaluation.annotated)
    low = 10 ** np.floor(np.log10(max(np.quantile(areas, 0.01), 1e-6)))
    high = 10 ** np.ceil(np.log10(max(np.quantile(areas, 0.99), 10 * low)))
    missed = np.zeros(len(areas), dtype=bool)
    missed[evaluation.missed] = True
    decades = 10 ** np.arange(np.log10(low), np.log10(high) + 0.5)
    across = Axis(f"annotated area, {evaluation.unit}2", low, high, decades, logarithmic=True, form=",.12g")
    groups = [("found", "right", areas[~missed]), ("missed", "missed", areas[missed])]
    return bar_chart(
        groups, np.geomspace(low, high, 26), across=across, title="Found and missed by size", counted="annotations"
    )


def _misses(evaluation: LayerEvaluation) -> list[dict[str, Any]]:
    """Return a close look at each of the largest misses."""
    areas = shapely.area(evaluation.annotated[evaluation.missed])
    largest = evaluation.missed[np.argsort(-areas, kind="stable")[:MISSES]]
    looks, places = CloseLooks(evaluation), _places(evaluation, largest)
    return [
        {
            "picture": looks.of_annotation(row),
            "feature": evaluation.annotations.ids[row],
            "area": f"{shapely.area(evaluation.annotated[row]):,.0f} {evaluation.unit}2",
            "iou": f"{evaluation.annotation_iou[row]:.2f}",
            "place": place,
        }
        for row, place in zip(largest, places, strict=True)
    ]


def _places(evaluation: LayerEvaluation, rows: np.ndarray) -> list[str]:
    """Return where annotations are: latitude and longitude, or their own coordinates where nobody knows."""
    middles = shapely.get_coordinates(shapely.point_on_surface(evaluation.annotated[rows]))
    if evaluation.plane.crs is None:
        return [f"{x:.10g} {y:.10g}" for x, y in middles]
    transformer = pyproj.Transformer.from_crs(evaluation.plane.crs, "EPSG:4326", always_xy=True)
    longitude, latitude = transformer.transform(*middles.T)
    return [f"{y:.6f}, {x:.6f}" for x, y in zip(longitude, latitude, strict=True)]


def _share(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
