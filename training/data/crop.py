"""A training crop on its way: one image, and of each of its pixels the instances that cover it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from training.data.sample import Sample
from training.losses.target import Target

IGNORED, MERGED = -1, -2
"""Labels of regions: ground that is not labelled, and several buildings drawn as one."""


@dataclass(eq=False)
class Crop:
    """An image and its instances, as numbers of instances in each pixel: a mask of each would be a hundred times as large.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        layers: (L, H, W) int32, 0 for none and n for the nth instance of ``labels``, counted from one. Where instances overlap,
            each has its number in a layer of its own; most crops have one layer.
        labels: (N,) int64, classes of instances, ``IGNORED`` or ``MERGED`` of regions. An instance may have no pixel.
    """

    image: np.ndarray
    layers: np.ndarray
    labels: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) bool, the pixels of each instance."""
        return _masks(self.layers, len(self.labels))

    @property
    def pixels(self) -> np.ndarray:
        """(N,) int64, how many pixels each instance has."""
        return np.bincount(self.layers.ravel(), minlength=len(self.labels) + 1)[1:]

    def numbered(self, instances: np.ndarray, *, first: int = 1) -> np.ndarray:
        """Return the layers with some of the instances alone, numbered anew in their order from ``first`` on."""
        numbers = np.zeros(len(self.labels) + 1, dtype=np.int32)
        numbers[instances + 1] = np.arange(first, first + len(instances))
        return numbers[self.layers]

    def sample(self, name: str = "", *, smallest: int = 1) -> Sample:
        """Return what is in the crop, without instances of fewer than ``smallest`` pixels."""
        kept = np.flatnonzero(self.pixels >= np.where(self.labels == IGNORED, 1, smallest))
        labels, masks = self.labels[kept], _masks(self.numbered(kept), len(kept))
        return Sample(self.image, masks, name, labels < 0, np.maximum(labels, 0), labels == MERGED)

    def target(self, *, smallest: int = 1) -> Target:
        """Return what is to be learned: instances of ``smallest`` pixels or more with the boxes of their masks, and regions."""
        kept = np.flatnonzero((self.pixels >= smallest) & (self.labels >= 0))
        layers = self.numbered(kept)
        found = ndimage.find_objects(layers)  # slices of layers, rows and columns
        boxes = [(columns.start, rows.start, columns.stop, rows.stop) for _, rows, columns in found]
        merged, ignored = (self._covered_by(label) for label in (MERGED, IGNORED))
        ignored |= merged
        return Target.from_pixels(
            torch.from_numpy(self.labels[kept]),
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.from_numpy(_masks(layers, len(kept))),
            ignored=torch.from_numpy(ignored) if ignored.any() else None,
            merged=torch.from_numpy(merged) if ignored.any() else None,
        )

    def _covered_by(self, label: int) -> np.ndarray:
        regions = np.flatnonzero(self.labels == label)
        if not len(regions):
            return np.zeros(self.layers.shape[1:], dtype=bool)
        return self.numbered(regions).any(axis=0)


def _masks(layers: np.ndarray, count: int) -> np.ndarray:
    masks = np.zeros((count, layers[0].size), dtype=bool)
    for layer in layers.reshape(len(layers), -1):
        covered = np.flatnonzero(layer)
        masks[layer[covered] - 1, covered] = True
    return masks.reshape(count, *layers.shape[1:])
