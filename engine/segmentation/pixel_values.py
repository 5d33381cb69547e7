"""From blended class scores to the values of an output's pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

NODATA = 255
MOST_CLASSES = 254
LARGEST = 254
"""The value of the probability 1: of uint8, whose last value stands for no data."""


class PixelValues(ABC):
    """What becomes of the scores.

    Attributes:
        planes: how many sums have to be kept for a pixel.
    """

    planes: int

    @abstractmethod
    def planes_of(self, scores: np.ndarray) -> np.ndarray:
        """Return what is summed over tiles: (classes, H, W) float32 -> (planes, H, W) float32."""

    @abstractmethod
    def values_of(self, sums: np.ndarray) -> np.ndarray:
        """Return the values of pixels: (planes, H, W) float32 -> (H, W) uint8, ``NODATA`` where no class has a score."""

    @abstractmethod
    def classes_of(self, values: np.ndarray) -> np.ndarray:
        """Return the class that pixels count for in the summary, uint8; ``NODATA`` for none."""


class ClassNumbers(PixelValues):
    """The number of the class with the highest score; of equal ones the first."""

    def __init__(self, wanted: np.ndarray) -> None:
        """Take which classes are wanted, (classes,) bool; pixels of the others have no data."""
        self.planes = len(wanted)
        self._numbers = np.where(wanted, np.arange(len(wanted)), NODATA).astype(np.uint8)

    def planes_of(self, scores: np.ndarray) -> np.ndarray:
        return scores

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        best, labels = sums[0].copy(), np.zeros(sums.shape[1:], np.uint8)
        for label in range(1, self.planes):  # argmax would first turn the array over, which takes as much memory again
            better = sums[label] > best
            labels[better] = label
            np.maximum(best, sums[label], out=best)
        return np.where(best > 0, self._numbers[labels], NODATA).astype(np.uint8)

    def classes_of(self, values: np.ndarray) -> np.ndarray:
        return values


class Probability(PixelValues):
    """The probability of one class, its share of the scores of all, as 0..254 for 0..1.

    Bytes and not float32: steps of 0.004 are finer than any model is sure of, the file is a quarter as large, and no data
    is 255 as in a class raster. The scale stands in the file, so that GDAL and QGIS show 0..1.
    """

    planes = 2

    def __init__(self, label: int) -> None:
        self._label = label

    def planes_of(self, scores: np.ndarray) -> np.ndarray:
        return np.stack([scores[self._label], scores.sum(axis=0)])

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        own, total = sums
        is_scored = total > 0
        share = own / np.where(is_scored, total, 1)
        return np.where(is_scored, np.rint(LARGEST * share.clip(0, 1)), NODATA).astype(np.uint8)

    def classes_of(self, values: np.ndarray) -> np.ndarray:
        is_likely = (values >= LARGEST / 2) & (values != NODATA)
        return np.where(is_likely, self._label, NODATA).astype(np.uint8)
