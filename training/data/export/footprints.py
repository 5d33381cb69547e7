"""Bring a layer of annotations into the pixels of a raster, and cut it into what COCO can say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import ProjError

from engine.errors import VectorError
from engine.vector.polygon_file import read_layer
from engine.vector.valid_polygons import polygons_in

logger = logging.getLogger(__name__)


def read_footprints(path: str | Path, raster: Any) -> np.ndarray:
    """Read annotations of any format and CRS.

    A feature of several parts becomes a footprint a part: what does not touch is not one building, and a layer whose
    buildings were dissolved into one feature comes apart again.

    Args:
        path: as ``engine.vector.polygon_file.read_layer`` takes it.
        raster: an open ``RasterSource``.

    Returns:
        (N,) polygons in pixels of the raster's working grid, those alone that meet the raster.

    Raises:
        VectorError: the layer cannot be read or reprojected, or none of it lies on the raster.
    """
    layer = read_layer(path, role="annotations")
    parts = polygons_in(layer.geometries)
    if len(parts) > len(layer):
        logger.info("%s: %d features have %d parts; each part is a building.", layer.name, len(layer), len(parts))
    in_pixels = _to_pixels(_finite(_reprojected(parts, layer.crs, raster, layer.name)), raster)
    broken = ~shapely.is_valid(in_pixels)  # on paper-thin parts, rounding in another CRS is enough
    in_pixels[broken] = shapely.make_valid(in_pixels[broken])
    on_raster = polygons_in(in_pixels[shapely.intersects(in_pixels, shapely.box(0, 0, raster.width, raster.height))])
    if not len(on_raster):
        raise VectorError(
            f"None of the {len(parts)} polygons of {path} lies on {raster.name} (CRS {layer.crs} and {raster.crs}).",
            hint="Is it the layer of another raster, or is one of the two CRS wrong?",
        )
    logger.info("%s: %d of %d polygons lie on %s.", layer.name, len(on_raster), len(parts), raster.name)
    _, firsts = np.unique(shapely.to_wkb(shapely.normalize(on_raster)), return_index=True)
    if len(firsts) < len(on_raster):
        logger.warning("%s: %d polygons are there twice; each is taken once.", layer.name, len(on_raster) - len(firsts))
    return on_raster[np.sort(firsts)]


def cut(footprints: np.ndarray, tree: shapely.STRtree, ground: shapely.Geometry, *, smallest: float) -> list[shapely.Geometry]:
    """Return what of each footprint lies on some ground, in the order of the footprints.

    Args:
        footprints: in pixels.
        tree: of the same.
        ground: what a tile shows.
        smallest: square pixels; less than that is left out.

    Returns:
        One geometry a footprint, with several parts where the ground's border takes it apart.
    """
    found = np.sort(tree.query(ground, predicate="intersects"))
    pieces = []
    for piece in shapely.intersection(footprints[found], ground):
        parts = polygons_in(piece)
        if len(parts) and shapely.area(parts).sum() >= smallest:
            pieces.append(parts[0] if len(parts) == 1 else shapely.multipolygons(parts))
    return pieces


def _reprojected(polygons: np.ndarray, crs: Any, raster: Any, name: str) -> np.ndarray:
    if crs is None or raster.crs is None:
        if crs is not None or raster.crs is not None:
            logger.warning(
                "%s has no CRS; the coordinates of both are taken for the same.", name if crs is None else raster.name
            )
        return polygons
    try:
        source, target = pyproj.CRS.from_user_input(crs), pyproj.CRS.from_wkt(raster.crs.to_wkt())
        if source.equals(target, ignore_axis_order=True) and not target.is_geographic:
            return polygons
        transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise VectorError(
            f"{name} cannot be brought from {crs} to the raster's CRS: {error}.", hint="Save it in the raster's CRS."
        ) from error
    centre = raster.transform.a * raster.width / 2 + raster.transform.b * raster.height / 2 + raster.transform.c

    def reproject(points: np.ndarray) -> np.ndarray:
        x, y = transformer.transform(points[:, 0], points[:, 1])
        seen = np.isfinite(x) & np.isfinite(y)
        if target.is_geographic:  # 181 degrees east is also 179 west
            x[seen] = (x[seen] - centre + 180) % 360 - 180 + centre
        return np.where(seen[:, None], np.stack([x, y], axis=1), np.inf)  # rings of NaN would not be closed

    return shapely.transform(polygons, reproject)


def _finite(polygons: np.ndarray) -> np.ndarray:
    """Leave out polygons with a point that the raster's projection cannot express: they are elsewhere on the globe."""
    points, owner = shapely.get_coordinates(polygons, return_index=True)
    return np.delete(polygons, np.unique(owner[~np.isfinite(points).all(axis=1)]))


def _to_pixels(polygons: np.ndarray, raster: Any) -> np.ndarray:
    a, b, c, d, e, f = (~raster.transform)[:6]
    return shapely.transform(
        polygons, lambda p: np.stack([a * p[:, 0] + b * p[:, 1] + c, d * p[:, 0] + e * p[:, 1] + f], axis=1)
    )
