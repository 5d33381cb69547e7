"""Panoptic quality as JSON, and as tables in percent for the terminal."""

from __future__ import annotations

from typing import Any

from engine.distribution import version
from training.evaluation.classes.document import figures_document, mean_lines
from training.evaluation.panoptic.evaluation import PanopticEvaluation
from training.evaluation.panoptic.quality import PanopticFigures
from training.evaluation.tables import aligned, finite_or_none, percent

FORMAT = 1


def panoptic_document(evaluation: PanopticEvaluation) -> dict[str, Any]:
    """Return what a machine may want to know; what cannot be said is None."""
    quality, figures = evaluation.quality, evaluation.quality.figures()
    of_pixels = figures_document(evaluation.matrix)
    of_segments = [
        {
            "thing": category.thing,
            "pq": finite_or_none(figures.pq[number]),
            "sq": finite_or_none(figures.sq[number]),
            "rq": finite_or_none(figures.rq[number]),
            "matched": int(quality.matched[number]),
            "false_positives": int(quality.false_positives[number]),
            "missed": int(quality.missed[number]),
        }
        for number, category in enumerate(evaluation.categories)
    ]
    by_class = zip(of_pixels["by_class"], of_segments, strict=True)
    return {
        "format": FORMAT,
        "program": f"maskdino {version()}",
        "prediction": evaluation.prediction,
        "truth": evaluation.truth,
        "pictures": evaluation.pictures,
        "pictures_of_the_prediction_alone": evaluation.others,
        "panoptic": {
            name.lower(): {
                "pq": finite_or_none(part.mean_pq),
                "sq": finite_or_none(part.mean_sq),
                "rq": finite_or_none(part.mean_rq),
                "classes": part.categories,
            }
            for name, part in _parts(evaluation).items()
        },
        **of_pixels,
        "by_class": [pixels | segments for pixels, segments in by_class],
    }


def panoptic_lines(evaluation: PanopticEvaluation) -> list[str]:
    """Return the evaluation as a person reads it: all, things and stuff, the figures of classes, then a row a class."""
    quality, figures = evaluation.quality, evaluation.quality.figures()
    iou = evaluation.matrix.figures().iou
    lines = [f"{evaluation.pictures:,} pictures, {quality.matched.sum() + quality.missed.sum():,} segments in the truth"]
    if evaluation.others:
        lines.append(f"pictures of the prediction that the truth does not have, not looked at: {evaluation.others:,}")
    means = [
        (name, percent(part.mean_pq), percent(part.mean_sq), percent(part.mean_rq), str(part.categories))
        for name, part in _parts(evaluation).items()
    ]
    rows = [
        (
            category.name, "thing" if category.thing else "stuff", percent(figures.pq[number]), percent(figures.sq[number]),
            percent(figures.rq[number]), percent(iou[number]), f"{quality.matched[number]:,}",
            f"{quality.false_positives[number]:,}", f"{quality.missed[number]:,}",
        )
        for number, category in enumerate(evaluation.categories)
    ]  # fmt: skip
    columns = ("class", "", "PQ", "SQ", "RQ", "IoU", "matched", "false positives", "missed")
    return [
        *lines,
        "",
        *aligned([("", "PQ", "SQ", "RQ", "classes"), *means]),
        "",
        *mean_lines(evaluation.matrix.figures()),
        "",
        *aligned([columns, *rows]),
    ]


def _parts(evaluation: PanopticEvaluation) -> dict[str, PanopticFigures]:
    quality = evaluation.quality
    return {
        "All": quality.figures(),
        "Things": quality.figures(evaluation.of_kind(things=True)),
        "Stuff": quality.figures(evaluation.of_kind(things=False)),
    }
