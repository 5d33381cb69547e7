"""How much ground each class covers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from engine.raster.source import RasterSource
from engine.segmentation.pixel_values import NODATA
from engine.vector.geodesic_area import ground_areas

_CELL = 64  # pixels: so far the ground area of one is that of its neighbours


@dataclass(frozen=True)
class ClassCover:
    """What a class covers.

    Attributes:
        pixels: of the raster.
        area_m2: true ground area; NaN where nothing says how large a pixel is.
    """

    pixels: int
    area_m2: float


class GroundCover:
    """Count the pixels of each class, and their true ground area, in which pixels of one raster may differ."""

    def __init__(self, raster: RasterSource) -> None:
        """Take a raster at its own resolution."""
        self._raster = raster
        self._pixels = np.zeros(256, np.int64)
        self._areas = np.zeros(256)

    def add(self, row: int, col: int, classes: np.ndarray) -> None:
        """Count pixels (H, W) uint8, whose first is at ``row`` and ``col``."""
        for top in range(0, classes.shape[0], _CELL):
            strip = classes[top : top + _CELL]
            lefts = [left for left in range(0, strip.shape[1], _CELL) if (strip[:, left : left + _CELL] != NODATA).any()]
            cells = [strip[:, left : left + _CELL] for left in lefts]
            sizes = self._pixel_areas([(col + left, row + top, *cell.shape) for left, cell in zip(lefts, cells, strict=True)])
            for cell, size in zip(cells, sizes, strict=True):
                counts = np.bincount(cell.ravel(), minlength=256)
                self._pixels += counts
                self._areas += np.where(counts, counts * size, 0)

    def by_class(self, names: Sequence[str], wanted: np.ndarray) -> dict[str, ClassCover]:
        """Return what each of the wanted classes covers, by its name."""
        numbers = np.flatnonzero(wanted)
        return {names[number]: ClassCover(int(self._pixels[number]), float(self._areas[number])) for number in numbers}

    def _pixel_areas(self, cells: list[tuple[int, int, int, int]]) -> np.ndarray:
        """Return the ground area of a pixel, in m2, in cells given by their left, top, height and width."""
        if self._raster.crs is None:
            size = math.nan if self._raster.pixel_size is None else math.prod(self._raster.pixel_size)
            return np.full(len(cells), size)
        a, b, c, d, e, f = self._raster.transform[:6]
        left, top, height, width = np.array(cells, dtype=float).reshape(-1, 4).T
        boxes = shapely.box(left, top, left + width, top + height)
        places = shapely.transform(
            boxes, lambda p: np.stack([a * p[:, 0] + b * p[:, 1] + c, d * p[:, 0] + e * p[:, 1] + f], axis=1)
        )
        return ground_areas(places, self._raster.crs) / (height * width)
