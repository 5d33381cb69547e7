"""COCO's rings as geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from engine.vector.valid_polygons import polygons_in

DECIMALS = 2  # of a coordinate in a COCO file: half a hundredth of a pixel is far below what anybody digitises


def polygon_of_rings(rings: Sequence[Sequence[float] | np.ndarray]) -> shapely.Geometry:
    """Join COCO rings, x and y by turns, into one valid geometry of polygons; it is empty where no ring holds any area."""
    polygons = []
    for ring in rings:
        points = np.asarray(ring, dtype=float).reshape(-1)
        points = points[: len(points) // 2 * 2].reshape(-1, 2)
        if len(points) >= 3 and np.isfinite(points).all():
            polygons.append(shapely.make_valid(shapely.Polygon(points)))
    joined = shapely.union_all(polygons) if polygons else shapely.Polygon()
    parts = [part for part in shapely.get_parts(joined) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def rings_of(geometry: shapely.Geometry) -> list[list[float]]:
    """Write a geometry as COCO rings: x and y by turns, each ring once round without its first point again.

    The rings of an annotation are united by whoever reads them, so a ring cannot be a hole. A polygon with holes is cut in
    two through each of them; the halves are rings that share the cut, and together they are the polygon, hole and all.
    """
    rings = []
    for part in polygons_in(geometry):
        for simple in _without_holes(part):
            points = np.round(shapely.get_coordinates(simple.exterior)[:-1], DECIMALS)
            points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
            if len(points) >= 3:
                rings.append((points + 0.0).ravel().tolist())  # + 0.0: no minus zero
    return rings


def _without_holes(polygon: shapely.Polygon) -> Sequence[shapely.Polygon]:
    if not polygon.interiors:
        return [polygon]
    low_x, low_y, high_x, high_y = shapely.bounds(polygon)
    left, _, right, _ = shapely.bounds(polygon.interiors[0])
    middle = (left + right) / 2
    rounded = round(middle, DECIMALS)  # the halves meet exactly, rounded or not
    line = rounded if left < rounded < right else middle
    halves = (shapely.box(low_x - 1, low_y - 1, line, high_y + 1), shapely.box(line, low_y - 1, high_x + 1, high_y + 1))
    return [
        simple
        for half in halves
        for part in polygons_in(shapely.intersection(polygon, half))
        for simple in _without_holes(part)
    ]
