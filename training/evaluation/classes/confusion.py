"""Which class pixels are and which they were given, and the figures of semantic segmentation that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_CLASS = "(none)"
"""The last column of a confusion matrix: pixels of the truth that were given no class."""


class ConfusionMatrix:
    """The matrix, filled part by part.

    Attributes:
        names: of the C classes.
        counts: (C, C + 1) int64, how many pixels of the class of a row were given that of a column; the last is ``NO_CLASS``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.counts = np.zeros((len(names), len(names) + 1), dtype=np.int64)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add pixels: two arrays of the same shape with the numbers of classes, -1 for none.

        Pixels whose truth is none are left out, whatever was predicted there.
        """
        labelled = truth >= 0
        self.add_pairs(truth[labelled], predicted[labelled])

    def add_pairs(self, truth: np.ndarray, predicted: np.ndarray, pixels: np.ndarray | None = None) -> None:
        """Add (P,) pairs of classes, the first never none, each so many ``pixels`` (P,) wide; one pixel by default."""
        rows, columns = self.counts.shape
        cells = truth.astype(np.int64) * columns + np.where(predicted < 0, columns - 1, predicted)
        counted = np.bincount(cells, weights=pixels, minlength=rows * columns)
        self.counts += counted.astype(np.int64).reshape(rows, columns)

    def only(self, kept: np.ndarray) -> ConfusionMatrix:
        """Return the matrix with some of its classes, by a mask (C,)."""
        part = ConfusionMatrix([name for name, keep in zip(self.names, kept, strict=True) if keep])
        part.counts = self.counts[kept][:, np.append(kept, True)]
        return part

    @property
    def seen(self) -> np.ndarray:
        """Which classes occur, in the truth or among the predicted: (C,) bool."""
        return (self.counts.sum(axis=1) > 0) | (self.counts[:, :-1].sum(axis=0) > 0)

    def figures(self) -> ClassFigures:
        """Return what the matrix comes to."""
        return ClassFigures.of(self)


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """Figures of semantic segmentation (Long et al. 2015, arXiv 1411.4038, section 5), 0..1; NaN: nothing to measure by.

    Means are over the classes that the truth has, as in detectron2, from which published figures come.

    Attributes:
        names: of the classes.
        iou: (C,) intersection over union of each class. Predictions where the truth has no label do not count.
        accuracy: (C,) share of the pixels of each class that were given it.
        pixels: (C,) int64 in the truth.
        mean_iou, mean_accuracy: over the classes that the truth has.
        frequency_weighted_iou: the same mean of IoU, each class by its share of the truth.
        pixel_accuracy: share of all pixels that were given their class.
    """

    names: tuple[str, ...]
    iou: np.ndarray
    accuracy: np.ndarray
    pixels: np.ndarray
    mean_iou: float
    mean_accuracy: float
    frequency_weighted_iou: float
    pixel_accuracy: float

    @classmethod
    def of(cls, matrix: ConfusionMatrix) -> ClassFigures:
        """Measure."""
        hits = np.diagonal(matrix.counts)
        there, found = matrix.counts.sum(axis=1), matrix.counts[:, :-1].sum(axis=0)
        iou, accuracy = _ratio(hits, there + found - hits), _ratio(hits, there)
        labelled = there > 0
        total = int(there.sum())
        return cls(
            names=matrix.names,
            iou=iou,
            accuracy=accuracy,
            pixels=there,
            mean_iou=_mean(iou[labelled]),
            mean_accuracy=_mean(accuracy[labelled]),
            frequency_weighted_iou=float(iou[labelled] @ there[labelled] / total) if total else float("nan"),
            pixel_accuracy=float(hits.sum() / total) if total else float("nan"),
        )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
