"""Draw polygons into windows of a raster, those of each window alone."""

from __future__ import annotations

import numpy as np
import shapely
from rasterio.windows import Window

from training.data.rasterize import rasterize_labels


class PolygonDrawing:
    """Polygons in pixels of a raster; a pixel is in one if its centre is.

    Attributes:
        polygons: (K,) valid polygons, in pixels.
    """

    def __init__(self, polygons: np.ndarray) -> None:
        self.polygons = polygons
        self._tree = shapely.STRtree(polygons)

    def near(self, window: Window) -> np.ndarray:
        """Return the rows of the polygons whose bounds meet a window's, in order."""
        left, top, width, height = window.flatten()
        return np.sort(self._tree.query(shapely.box(left, top, left + width, top + height)))

    def covers(self, window: Window, rows: np.ndarray | None = None) -> np.ndarray:
        """Return which pixels (h, w) of a window lie in a polygon: in one of some ``rows``, or in any."""
        polygons = self.polygons[self.near(window) if rows is None else rows]
        moved = shapely.transform(polygons, lambda points: points - (window.col_off, window.row_off))
        return rasterize_labels(moved, int(window.height), int(window.width)) > 0
