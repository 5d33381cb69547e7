"""Where a raster lies, and how large its pixels are on the ground."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyproj
from affine import Affine
from pyproj.exceptions import CRSError, ProjError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.transform import from_gcps
from rasterio.vrt import WarpedVRT

from engine.errors import RasterFitError

logger = logging.getLogger(__name__)

# QGIS draws a picture without georeference like this: one unit per pixel, the first row on top.
PICTURE_TRANSFORM = Affine(1, 0, 0, 0, -1, 0)
# A CRS whose units differ by less than this from metres on the ground keeps its nominal pixel size: a UTM raster of 0.3 m
# is one of 0.3 m to everybody, though the map's scale there may be 0.9996.
NOMINAL_TOLERANCE = 0.01
# Pixels smaller than this without a CRS are degrees whose CRS got lost: no camera resolves a tenth of a millimetre.
SMALLEST_METRES = 1e-4


@dataclass(frozen=True)
class Georeference:
    """Place and pixel size of a raster.

    Attributes:
        crs: coordinate reference system, or None.
        transform: affine from pixels (col, row) to map coordinates.
        pixel_size: metres on the ground along a row and along a column at the raster's centre, or None where unknown.
    """

    crs: CRS | None
    transform: Affine
    pixel_size: tuple[float, float] | None


def needs_warping(dataset: DatasetReader | WarpedVRT) -> bool:
    """Return whether ground control points tie an open dataset to the ground in a way that no affine can."""
    points, _ = dataset.gcps
    return dataset.transform.is_identity and len(points) >= 3 and _affine_of_points(points) is None


def georeference_of(dataset: DatasetReader | WarpedVRT, *, name: str) -> Georeference:
    """Read the georeference of an open dataset, one that ``needs_warping`` already warped.

    Raises:
        RasterFitError: the geotransform is degenerate, or the raster is tied to the ground by RPCs only.
    """
    crs, transform = dataset.crs, dataset.transform
    if isinstance(dataset, WarpedVRT):
        logger.info("%s: warped to north-up by its ground control points.", name)
    if transform.is_identity:
        points, points_crs = dataset.gcps
        if len(points) >= 3:
            crs, transform = points_crs, _affine_of_points(points)
        elif dataset.rpcs is not None:
            raise RasterFitError(
                f"{name} is a raw satellite scene, tied to the ground by rational polynomials (RPC) only.",
                hint="Orthorectify it first, for example with `gdalwarp -rpc`.",
            )
        else:
            logger.warning("%s has no georeference: detections come out in its pixels, without a CRS.", name)
            return Georeference(None, PICTURE_TRANSFORM, None)
    if abs(transform.determinant) == 0 or not all(map(math.isfinite, transform[:6])):
        raise RasterFitError(
            f"{name} has a geotransform whose pixels have no area: {tuple(transform)[:6]}.",
            hint="Georeference it again, for example with `gdal_edit.py -a_ullr`.",
        )
    if crs is not None and pyproj.CRS.from_wkt(crs.to_wkt()).is_geocentric:
        raise RasterFitError(
            f"{name} has a geocentric CRS ({crs.to_string()}), which counts from the centre of the Earth and is no map.",
            hint="Reproject it, for example with `gdalwarp -t_srs EPSG:3857`.",
        )
    size = ground_size(crs, transform, dataset.width, dataset.height)
    if crs is None:
        unit = "metres" if size else "unknown: they look like degrees"
        logger.warning("%s has no CRS: the units of its coordinates are %s.", name, unit)
    elif size is None:
        logger.warning("%s: its CRS does not say how large a pixel is on the ground.", name)
    return Georeference(crs, transform, size)


def ground_size(crs: CRS | None, transform: Affine, width: int, height: int) -> tuple[float, float] | None:
    """Measure a pixel along a row and along a column, in metres on the ground at the raster's centre; None if unknown.

    Degrees, feet, web mercator and every other projection come out of the same geodesic measurement (Karney 2013).
    """
    nominal = (math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e))
    if crs is None:
        return nominal if min(nominal) >= SMALLEST_METRES else None
    if not crs.is_geographic:
        nominal = tuple(size * _metres_a_unit(crs) for size in nominal)
    measured = _geodesic_size(crs, transform, width, height)
    if crs.is_geographic:
        return measured
    if measured is None:
        return nominal
    kept = all(abs(true / name - 1) < NOMINAL_TOLERANCE for true, name in zip(measured, nominal, strict=True))
    return nominal if kept else measured


def _metres_a_unit(crs: CRS) -> float:
    axes = pyproj.CRS.from_wkt(crs.to_wkt()).axis_info  # rasterio knows no units of an engineering CRS
    return axes[0].unit_conversion_factor if axes else 1.0


def _geodesic_size(crs: CRS, transform: Affine, width: int, height: int) -> tuple[float, float] | None:
    """Measure the geodesics across the raster's centre, over up to 64 pixels: inverse projections are good to a tenth of
    a millimetre only, which would be much of a single pixel."""
    try:
        to_degrees = pyproj.Transformer.from_crs(pyproj.CRS.from_wkt(crs.to_wkt()), "EPSG:4326", always_xy=True)
    except (CRSError, ProjError):
        return None
    a, b, c, d, e, f = transform[:6]
    sizes = []
    for length, along, across in ((min(64, width), 1, 0), (min(64, height), 0, 1)):
        cols = [width / 2 + side * along * length / 2 for side in (-1, 1)]
        rows = [height / 2 + side * across * length / 2 for side in (-1, 1)]
        xs = [a * col + b * row + c for col, row in zip(cols, rows, strict=True)]
        ys = [d * col + e * row + f for col, row in zip(cols, rows, strict=True)]
        lons, lats = to_degrees.transform(xs, ys)
        if not all(map(math.isfinite, (*lons, *lats))) or max(map(abs, lats)) > 90:
            return None
        _, _, distance = pyproj.Geod(ellps="WGS84").inv(lons[0], lats[0], lons[1], lats[1])
        if not distance > 0:
            return None
        sizes.append(distance / length)
    return sizes[0], sizes[1]


def _affine_of_points(points: Sequence[GroundControlPoint]) -> Affine | None:
    """Return the affine of ground control points, or None where it misses one of them by more than half a pixel."""
    fitted = from_gcps(points)
    if abs(fitted.determinant) == 0:
        return None
    back = ~fitted
    for point in points:
        col = back.a * point.x + back.b * point.y + back.c
        row = back.d * point.x + back.e * point.y + back.f
        if math.hypot(col - point.col, row - point.row) > 0.5:
            return None
    return fitted
