"""COCO's rings as geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely


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
