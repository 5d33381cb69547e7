"""Read the polygons of a vector file that stand for one area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import VectorError
from engine.vector.polygon_file import read_layer
from engine.vector.valid_polygons import polygons_in


def read_polygons(path: str | Path) -> tuple[np.ndarray, Any]:
    """Read all polygons of a layer, mended where they cross themselves.

    Args:
        path: as ``read_layer`` takes it.

    Returns:
        The polygons (K,) in the layer's coordinates, which may overlap, and the name or WKT of its CRS; None where it has
        none.

    Raises:
        VectorError: the file or layer is not there, cannot be read, or holds no polygons.
    """
    layer = read_layer(path, role="area")
    if not len(layer):
        raise VectorError(
            f"area {path} holds no polygons, in {layer.features} features.",
            hint="Points and lines have no inside; buffer them.",
        )
    return polygons_in(layer.geometries), layer.crs
