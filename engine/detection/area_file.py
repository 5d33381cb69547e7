"""Read the polygons of a vector file as one area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import shapely

from engine.detection.polygon_file import read_layer
from engine.errors import VectorError


def read_polygons(path: str | Path) -> tuple[shapely.Geometry, Any]:
    """Read all polygons of a layer, mended where they cross themselves, and unite them.

    Args:
        path: as ``read_layer`` takes it.

    Returns:
        The area in the layer's coordinates, and the name or WKT of its CRS; None where it has none.

    Raises:
        VectorError: the file or layer is not there, cannot be read, or holds no polygons.
    """
    layer = read_layer(path, role="area")
    if not len(layer):
        raise VectorError(
            f"area {path} holds no polygons, in {layer.features} features.",
            hint="Points and lines have no inside; buffer them.",
        )
    return shapely.union_all(layer.geometries), layer.crs
