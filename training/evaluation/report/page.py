"""One page that says how good a layer is, with everything that it needs inside."""

from __future__ import annotations

import datetime
from html import escape

import numpy as np
import pyproj
import shapely

from training.evaluation.layers.document import summary_rows
from training.evaluation.layers.evaluation import LayerEvaluation
from training.evaluation.report.charts import Axis, bar_chart, curve_chart, round_axis
from training.evaluation.report.map import MISSED, RIGHT, WRONG, CloseLooks, map_picture

MISSES = 12
_SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)

_STYLE = f"""
:root {{ color-scheme: light; --right: rgb{RIGHT}; --wrong: rgb{WRONG}; --missed: rgb{MISSED}; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; }}
body {{ max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.1rem; margin-top: 2.2rem; }}
.from, figcaption, .note {{ color: #555; font-size: .9rem; }}
.warning {{ background: #fdf3d8; border-left: 4px solid var(--missed); padding: .5rem .8rem; margin: .5rem 0; }}
.large {{ display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.2rem 0; }}
.large div {{ min-width: 5rem; }} .large b {{ display: block; font-size: 1.9rem; font-weight: 600; line-height: 1.2; }}
table {{ border-collapse: collapse; }}
td {{ padding: .15rem 1.5rem .15rem 0; border-bottom: 1px solid #eee; vertical-align: top; }}
.charts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 1rem; }}
.looks {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }} svg {{ width: 100%; height: auto; }} img {{ max-width: 100%; border: 1px solid #ddd; }}
.looks svg {{ background: #fafaf7; border: 1px solid #ddd; }}
svg text {{ font-size: 12px; fill: #333; }}
.middle {{ text-anchor: middle; }} .end {{ text-anchor: end; }} .name {{ fill: #555; }}
.grid {{ stroke: #e8e8e8; }} .axis {{ stroke: #555; }} .line {{ fill: none; stroke: var(--right); stroke-width: 2; }}
.mark {{ fill: #fff; stroke: var(--wrong); stroke-width: 2; }}
.right {{ fill: var(--right); }} .wrong {{ fill: var(--wrong); }} .missed {{ fill: var(--missed); }}
.there {{ fill: var(--missed); fill-rule: evenodd; }} .beside {{ fill: #ddd; fill-rule: evenodd; }}
.found {{ fill: none; stroke: var(--wrong); stroke-width: 1.5; }}
.key i {{ display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }}
"""

_METHOD = """Detections and annotations are matched one to one, the best score first, at an intersection over union (IoU) of
0.5 or more. Average precision is COCO's: mean precision at 101 recalls, at IoU 0.50, and the mean over 0.50 to 0.95. PoLiS is
the mean distance of vertices from the other outline (Avbelj et al. 2015); boundary IoU compares the strips along the borders
(Cheng et al. 2021). All is measured on an equal-area plane around the layers, in true ground units."""


def write_report(evaluation: LayerEvaluation) -> str:
    """Return the page as HTML."""
    figures = evaluation.figures
    large = (
        ("precision", figures.precision), ("recall", figures.recall), ("F1", figures.f1), ("AP50", figures.ap50),
        ("AP", figures.ap), ("IoU of matches", figures.mean_iou),
    )  # fmt: skip
    tiles = "".join(f"<div><b>{_share(value)}</b>{name}</div>" for name, value in large)
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in summary_rows(evaluation))
    notes = "".join(f'<p class="warning">{escape(text)}</p>' for text in evaluation.warnings)
    area = "" if evaluation.area is None else ", inside the area given"
    today = datetime.date.today().isoformat()
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(evaluation.detections.name)}: evaluation</title><style>{_STYLE}</style></head><body>
<h1>How good is {escape(evaluation.detections.name)}?</h1>
<p class="from">{figures.detections:,} detections, measured by the {figures.annotations:,} annotations of
{escape(evaluation.annotations.name)}{area}; {today}</p>
{notes}<div class="large">{tiles}</div>
<h2>Where</h2>{_map(evaluation)}
<h2>Curves and histograms</h2><div class="charts">{_charts(evaluation)}</div>
<h2>The largest misses</h2>{_misses(evaluation)}
<h2>All figures</h2><table>{rows}</table>
<h2>How it was measured</h2><p class="note">{_METHOD}</p>
</body></html>
"""


def _map(evaluation: LayerEvaluation) -> str:
    picture = map_picture(evaluation)
    if picture is None:
        return "<p>There is nothing to draw.</p>"
    key = "".join(
        f'<i style="background: var(--{style})"></i>{name}'
        for style, name in (("right", "right"), ("wrong", "false positive"), ("missed", "missed"))
    )
    image = f'<img alt="Map of detections and annotations" src="{picture}">'
    return f'<figure>{image}<figcaption class="key">{key}</figcaption></figure>'


def _charts(evaluation: LayerEvaluation) -> str:
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
    return "".join(f"<figure>{chart}</figure>" for chart in charts)


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


def _misses(evaluation: LayerEvaluation) -> str:
    missed = evaluation.missed
    if not len(missed):
        return "<p>Nothing was missed.</p>"
    areas = shapely.area(evaluation.annotated[missed])
    largest = missed[np.argsort(-areas, kind="stable")[:MISSES]]
    looks, places = CloseLooks(evaluation), _places(evaluation, largest)
    cells = []
    for row, place in zip(largest, places, strict=True):
        area = shapely.area(evaluation.annotated[row])
        caption = (
            f"feature {evaluation.annotations.ids[row]}, {area:,.0f} {evaluation.unit}2, "
            f"best IoU {evaluation.annotation_iou[row]:.2f}<br>{place}"
        )
        cells.append(f"<figure>{looks.of_annotation(row)}<figcaption>{caption}</figcaption></figure>")
    more = f"The {len(largest)} largest of {len(missed):,}. " if len(missed) > len(largest) else ""
    return (
        f'<p class="note">{more}Yellow: what was missed. Grey: other annotations. Red lines: detections.</p>'
        f'<div class="looks">{"".join(cells)}</div>'
    )


def _places(evaluation: LayerEvaluation, rows: np.ndarray) -> list[str]:
    """Say where annotations are: latitude and longitude, or their own coordinates where nobody knows."""
    middles = shapely.get_coordinates(shapely.point_on_surface(evaluation.annotated[rows]))
    if evaluation.plane.crs is None:
        return [f"{x:.10g} {y:.10g}" for x, y in middles]
    transformer = pyproj.Transformer.from_crs(evaluation.plane.crs, "EPSG:4326", always_xy=True)
    longitude, latitude = transformer.transform(*middles.T)
    return [f"{y:.6f}, {x:.6f}" for x, y in zip(longitude, latitude, strict=True)]


def _share(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
