"""Make valid polygons of the geometries that files and intersections hold."""

from __future__ import annotations

import numpy as np
import shapely


def mended(shapes: np.ndarray) -> np.ndarray:
    """Make geometries valid. Parts of one that overlap are united, not taken out of one another."""
    result = shapely.make_valid(shapes)
    for row in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOLYGON):
        result[row] = shapely.union_all(shapely.make_valid(shapely.get_parts(shapes[row])))
    return result


def only_polygons(shapes: np.ndarray) -> np.ndarray:
    """Keep of each geometry the polygons with an area, those within collections too; one without becomes an empty one."""
    kinds = shapely.get_type_id(shapes)
    result = np.where(np.isin(kinds, (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)), shapes, None)
    for row in np.flatnonzero(kinds == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = polygons_in(shapes[row])
        result[row] = parts[0] if len(parts) == 1 else shapely.multipolygons(parts)
    result[shapely.is_missing(result)] = shapely.Polygon()
    return result


def polygons_in(geometries: np.ndarray | shapely.Geometry) -> np.ndarray:
    """Return every polygon with an area in some geometries, those within collections too."""
    parts = np.atleast_1d(geometries)
    while (shapely.get_type_id(parts) > shapely.GeometryType.POLYGON).any():
        parts = shapely.get_parts(parts)
    return parts[shapely.area(parts) > 0]
