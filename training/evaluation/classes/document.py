"""The figures of classes as JSON, as tables in percent for the terminal, and the confusion matrix as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from engine.distribution import version
from training.evaluation.classes.confusion import NO_CLASS, ClassFigures, ConfusionMatrix
from training.evaluation.tables import aligned, finite_or_none, percent

if TYPE_CHECKING:
    from training.evaluation.classes.evaluation import ClassEvaluation

FORMAT = 1


def class_document(evaluation: ClassEvaluation) -> dict[str, Any]:
    """Return what a machine may want to know; what cannot be said is None."""
    return {
        "format": FORMAT,
        "program": f"maskdino {version()}",
        "prediction": evaluation.prediction,
        "truth": evaluation.truth,
        "compared": evaluation.kind,
        "pictures": evaluation.pictures,
        "contested_pixels": evaluation.contested,
        **figures_document(evaluation.matrix),
    }


def figures_document(matrix: ConfusionMatrix) -> dict[str, Any]:
    """Return the figures of a confusion matrix, by class, and the matrix itself."""
    figures = matrix.figures()
    return {
        "pixels": int(figures.pixels.sum()),
        "figures": {name: finite_or_none(getattr(figures, name)) for name in _MEANS},
        "by_class": [
            {"class": name, "iou": finite_or_none(iou), "accuracy": finite_or_none(accuracy), "pixels": int(pixels)}
            for name, iou, accuracy, pixels in zip(figures.names, figures.iou, figures.accuracy, figures.pixels, strict=True)
        ],
        "confusion_matrix": {"rows": [*matrix.names], "columns": [*matrix.names, NO_CLASS], "pixels": matrix.counts.tolist()},
    }


_MEANS = {
    "mean_iou": "mIoU",
    "frequency_weighted_iou": "fwIoU",
    "mean_accuracy": "mACC",
    "pixel_accuracy": "pACC",
}
"""The figures that are one for all classes, and what the papers call them."""


def class_lines(evaluation: ClassEvaluation) -> list[str]:
    """Return the evaluation as a person reads it: what it rests on, a row for all, then a row for each class."""
    figures = evaluation.matrix.figures()
    of_pictures = "" if evaluation.pictures is None else f" in {evaluation.pictures:,} pictures"
    lines = [f"{int(figures.pixels.sum()):,} pixels with a label{of_pictures}, {int((figures.pixels > 0).sum())} classes"]
    if evaluation.contested:
        lines.append(f"pixels left out, since polygons of two classes cover them: {evaluation.contested:,}")
    return [*lines, "", *mean_lines(figures), "", *by_class_lines(figures)]


def mean_lines(figures: ClassFigures) -> list[str]:
    """Return the figures that are one for all classes, in percent as the papers print them."""
    return aligned([tuple(_MEANS.values()), tuple(percent(getattr(figures, name)) for name in _MEANS)])


def by_class_lines(figures: ClassFigures) -> list[str]:
    """Return a table with a row for each class."""
    rows = zip(figures.names, figures.iou, figures.accuracy, figures.pixels, strict=True)
    return aligned([
        ("class", "IoU", "ACC", "pixels"),
        *((name, percent(iou), percent(accuracy), f"{pixels:,}") for name, iou, accuracy, pixels in rows),
    ])  # fmt: skip


def confusion_csv(matrix: ConfusionMatrix) -> str:
    """Return the confusion matrix in pixels as CSV: a row for each true class, a column for each predicted one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["truth \\ prediction", *matrix.names, NO_CLASS])
    writer.writerows([name, *counts] for name, counts in zip(matrix.names, matrix.counts.tolist(), strict=True))
    return text.getvalue()
