"""Bring an area to a raster's CRS, on whichever turn of the globe the raster counts its longitudes."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import ProjError

from engine.vector.valid_polygons import polygons_in

# Straight edges become curves in another CRS. Bent at so many points along the raster's side, even those of a raster
# 100 km wide stay within 2 cm of the curve in the common projections.
POINTS_ALONG_RASTER = 1024
# Around the raster so much of its side is brought along, so that its own border is never one of the area's.
MARGIN = 0.1

Bounds = tuple[float, float, float, float]


def to_raster_crs(area: np.ndarray, source: pyproj.CRS, target: pyproj.CRS, raster: Bounds) -> np.ndarray:
    """Reproject what of an area lies around a raster.

    Only that part is looked at: an area may be the whole world, which no projection holds.

    Args:
        area: (K,) polygons in ``source``.
        source: the area's CRS.
        target: the raster's CRS.
        raster: the raster's bounds in ``target``.

    Returns:
        (L,) polygons in ``target``.

    Raises:
        ProjError: the raster's ground has no place in the area's CRS.
    """
    if source.equals(target, ignore_axis_order=True):
        return around_raster(area, target, raster)
    to_source = pyproj.Transformer.from_crs(target, source, always_xy=True)
    left, bottom, right, top = to_source.transform_bounds(*_grown(raster), errcheck=True)
    if not np.isfinite([left, bottom, right, top]).all():
        raise ProjError("the raster lies outside what the area's CRS can express")
    if left > right:  # it crosses the antimeridian
        right += 360
    near = around_raster(area, source, (left, bottom, right, top))
    near = shapely.segmentize(near, max(right - left, top - bottom) / POINTS_ALONG_RASTER)
    to_target = pyproj.Transformer.from_crs(source, target, always_xy=True)
    centre = (raster[0] + raster[2]) / 2

    def reproject(points: np.ndarray) -> np.ndarray:
        x, y = to_target.transform(points[:, 0], points[:, 1], errcheck=True)
        if target.is_geographic:
            x = (x - centre + 180) % 360 - 180 + centre
        return np.stack([x, y], axis=1)

    brought = shapely.transform(near, reproject)
    broken = ~shapely.is_valid(brought)
    brought[broken] = shapely.make_valid(brought[broken])
    return polygons_in(brought)


def around_raster(area: np.ndarray, crs: pyproj.CRS, raster: Bounds) -> np.ndarray:
    """Cut out of an area what lies around a raster in the same CRS, where 181 degrees east is also 179 west."""
    bounds = _grown(raster)
    if not crs.is_geographic:
        return cut_to(area, bounds)
    turned = [shapely.transform(area, lambda points, turn=turn: points + np.array([turn, 0.0])) for turn in (-360, 0, 360)]
    return np.concatenate([cut_to(each, bounds) for each in turned])


def cut_to(polygons: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Return what of some polygons (K,) lies in a rectangle: (L,) polygons. Those entirely within stay as they are."""
    left, bottom, right, top = bounds
    lows, highs = np.split(shapely.bounds(polygons), 2, axis=1)
    meets = (lows < (right, top)).all(axis=1) & (highs > (left, bottom)).all(axis=1)
    within = (lows >= (left, bottom)).all(axis=1) & (highs <= (right, top)).all(axis=1)
    result = polygons.copy()
    cut = meets & ~within
    result[cut] = shapely.intersection(polygons[cut], shapely.box(*bounds))
    return polygons_in(result[meets])


def _grown(bounds: Bounds) -> Bounds:
    left, bottom, right, top = bounds
    margin = MARGIN * max(right - left, top - bottom)
    return left - margin, bottom - margin, right + margin, top + margin
