"""Read the polygons of a vector file as one area."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FieldError, GeometryError

from engine.errors import VectorError

logger = logging.getLogger(__name__)

LAYER_MARK = "|layername="


def read_polygons(path: str | Path) -> tuple[shapely.Geometry, str | None]:
    """Read all polygons of a layer, mended where they cross themselves, and unite them.

    Args:
        path: anything that OGR reads; ``FILE|layername=NAME``, as QGIS writes it, names one layer of several. Without a
            name it is the only layer with polygons.

    Returns:
        The area in the layer's coordinates, and the name or WKT of its CRS; None where it has none.

    Raises:
        VectorError: the file or layer is not there, cannot be read, or holds no polygons.
    """
    file, _, layer = str(path).partition(LAYER_MARK)
    layer = layer.partition("|")[0]
    if "://" not in file and not file.startswith("/vsi") and not Path(file).exists():
        raise VectorError(f"area {file} does not exist.", hint="Check the path.")
    try:
        meta, _, geometries, _ = pyogrio.raw.read(file, layer=layer or _only_layer(file), columns=[], force_2d=True)
    except (DataSourceError, DataLayerError, FieldError, GeometryError, ValueError) as error:
        reason = str(error).partition(";")[0].rstrip(".")  # what follows is advice to programmers
        raise VectorError(
            f"area {path} cannot be read: {reason}.", hint="Give a polygon layer, such as a GeoPackage."
        ) from error
    shapes = shapely.from_wkb([] if geometries is None else geometries, on_invalid="ignore")
    unreadable = int(shapely.is_missing(shapes).sum())
    if unreadable:
        logger.warning("%s: %d of %d features have no geometry that can be used.", path, unreadable, len(shapes))
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
    broken = ~shapely.is_valid(shapes)
    if broken.any():
        logger.info("%s: %d polygons that cross themselves are mended.", path, broken.sum())
        shapes[broken] = shapely.make_valid(shapes[broken])
    parts = polygons_in(shapes)
    if len(parts) == 0:
        raise VectorError(
            f"area {path} holds no polygons, in {len(shapes)} features.", hint="Points and lines have no inside; buffer them."
        )
    return shapely.union_all(parts), meta["crs"]


def polygons_in(geometries: np.ndarray | shapely.Geometry) -> np.ndarray:
    """Return every polygon with an area in some geometries, those within collections too."""
    parts = np.atleast_1d(geometries)
    while (shapely.get_type_id(parts) > shapely.GeometryType.POLYGON).any():
        parts = shapely.get_parts(parts)
    return parts[shapely.area(parts) > 0]


def _only_layer(file: str) -> str | None:
    """Return the one layer with polygons; None leaves the choice to OGR, which then says what is wrong."""
    layers = {name: kind for name, kind in pyogrio.list_layers(file) if kind is not None}
    with_polygons = [name for name, kind in layers.items() if "Polygon" in kind or "Surface" in kind]
    candidates = with_polygons or list(layers)
    if len(candidates) > 1:
        raise VectorError(
            f"area {file} has {len(candidates)} layers: {', '.join(candidates[:20])}.",
            hint=f"Name one of them, for example '{file}{LAYER_MARK}{candidates[0]}'.",
        )
    return candidates[0] if candidates else None
