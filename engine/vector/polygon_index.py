"""Ask many polygons at once whether they hold something, without uniting them: a cadastre has a million parcels."""

from __future__ import annotations

import threading

import numpy as np
import shapely

_LARGE = 64  # points, from which a polygon is worth an index of its own


class PolygonIndex:
    """Polygons that stand for one area, which may overlap.

    Attributes:
        polygons: (K,) valid polygons with an area.
    """

    def __init__(self, polygons: np.ndarray) -> None:
        self.polygons = polygons
        shapely.prepare(polygons[shapely.get_num_coordinates(polygons) >= _LARGE])
        self._tree = shapely.STRtree(polygons)
        # GEOS makes the index of a prepared geometry when it is first asked, and crashes where two threads ask at once.
        self._one_at_a_time = threading.Lock()

    def meeting(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """Return the polygons whose bounds meet a rectangle: (N,)."""
        with self._one_at_a_time:
            return self.polygons[np.sort(self._tree.query(shapely.box(left, top, right, bottom)))]

    def comes_within(self, shape: shapely.Geometry, distance: float) -> bool:
        """Return whether any of the polygons comes within a distance of a geometry."""
        left, bottom, right, top = shapely.bounds(shape)
        around = shapely.box(left - distance, bottom - distance, right + distance, top + distance)
        with self._one_at_a_time:
            near = self.polygons[self._tree.query(around)]
            return bool((shapely.dwithin(near, shape, distance) if distance else shapely.intersects(near, shape)).any())

    def holds_most_of(self, shapes: np.ndarray) -> np.ndarray:
        """Return which of some polygons (N,) lie in the area by more than half of their own: (N,) bool."""
        held = np.zeros(len(shapes), dtype=bool)
        with self._one_at_a_time:
            rows, numbers = self._tree.query(shapes)
            meets = shapely.intersects(self.polygons[numbers], shapes[rows])
            rows, numbers = rows[meets], numbers[meets]
            held[rows[shapely.covers(self.polygons[numbers], shapes[rows])]] = True
            is_open = ~held[rows]
            rows, numbers = rows[is_open], numbers[is_open]
            common = shapely.intersection(self.polygons[numbers], shapes[rows])
        half = shapely.area(shapes) / 2
        enough = np.bincount(rows, weights=shapely.area(common), minlength=len(shapes)) > half
        several = enough & (np.bincount(rows, minlength=len(shapes)) > 1)
        held |= enough & ~several
        for row in np.flatnonzero(several):  # what lies in two polygons counts once
            held[row] = shapely.area(shapely.union_all(common[rows == row])) > half[row]
        return held
