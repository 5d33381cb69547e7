"""The part of a raster that is asked for: which pixels to read, which tiles to look at, which footprints to keep."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyproj
import shapely
from affine import Affine
from pyproj.exceptions import ProjError
from rasterio.features import rasterize

from engine.errors import ArgumentError, VectorError
from engine.raster.tile_grid import Tile
from engine.vector.area_file import read_polygons
from engine.vector.polygon_index import PolygonIndex
from engine.vector.reprojection import around_raster, cut_to, to_raster_crs
from engine.vector.valid_polygons import polygons_in

logger = logging.getLogger(__name__)

# Of a pixel: how far a coordinate may be off after the way through another CRS and back.
ROUNDING = 1e-6


class Ground(Protocol):
    """What an area needs to know of a raster; a ``RasterSource`` is one."""

    name: str
    width: int
    height: int
    transform: Affine
    crs: Any


class AreaOfInterest:
    """An area in pixels of the working grid.

    A footprint belongs to the area if **more than half of it** lies inside; it is kept or left out whole, never cut. So
    areas that share a border share out the buildings on it: each goes to one of them at most.

    Attributes:
        polygons: (K,) the area, in pixels, cut to the raster; they may overlap.
    """

    def __init__(self, polygons: np.ndarray | shapely.Geometry, *, width: int, height: int) -> None:
        """Take polygons in pixels of a working grid of ``width`` by ``height``; some have to lie in the raster."""
        self.polygons = cut_to(polygons_in(polygons), (0, 0, width, height))
        if not len(self.polygons):
            raise ArgumentError("The area does not meet the raster.")
        self.width = width
        self.height = height
        self._index = PolygonIndex(self.polygons)

    @cached_property
    def geometry(self) -> shapely.Geometry:
        """The polygons as one, which takes long of many."""
        return shapely.union_all(self.polygons)

    @classmethod
    def from_extent(cls, extent: Sequence[float], raster: Ground) -> AreaOfInterest:
        """Take a rectangle ``(xmin, ymin, xmax, ymax)`` in the raster's own coordinates.

        Raises:
            ArgumentError: it is no rectangle, or lies beside the raster.
        """
        if len(extent) != 4 or not all(map(math.isfinite, extent)):
            raise ArgumentError(f"extent is {_numbers(extent)}.", hint="Give four numbers: XMIN YMIN XMAX YMAX.")
        xmin, ymin, xmax, ymax = extent
        if xmin >= xmax or ymin >= ymax:
            raise ArgumentError(f"extent is {_numbers(extent)}: it encloses nothing.", hint="The order is XMIN YMIN XMAX YMAX.")
        area = np.array([shapely.box(xmin, ymin, xmax, ymax)])
        if raster.crs is not None:
            area = around_raster(area, pyproj.CRS.from_wkt(raster.crs.to_wkt()), _raster_bounds(raster))
        area = _mapped(area, ~raster.transform)
        if not _shares_ground(area, raster):
            raise ArgumentError(f"{_beside('extent', extent, raster)}.", hint="Give it in the raster's own coordinates.")
        return cls(area, width=raster.width, height=raster.height)

    @classmethod
    def from_vector(cls, path: str | Path, raster: Ground) -> AreaOfInterest:
        """Take the polygons of a vector file in any CRS, all together; ``FILE|layername=NAME`` names a layer.

        Raises:
            VectorError: the file cannot be read, holds no polygons, or lies beside the raster.
        """
        area, crs_name = read_polygons(path)
        extent = shapely.total_bounds(area)
        area = in_pixels(area, crs_name, raster, name=f"area {path}")
        if not _shares_ground(area, raster):
            raise VectorError(
                f"{_beside(f'area {path}', extent, raster)} (each in its own CRS: {crs_name}, {raster.crs}).",
                hint="Is it the area of another raster?",
            )
        return cls(area, width=raster.width, height=raster.height)

    def window(self, margin: int = 0, *, smallest: int = 0) -> tuple[int, int, int, int]:
        """Return the pixels to work on, as half-open bounds ``(col0, row0, col1, row1)`` within the raster.

        Args:
            margin: pixels around the area, so that buildings on its border are seen whole.
            smallest: side in pixels to grow to, as far as the raster goes: a model sees better with its tile full of
                ground than with a stamp in the middle of nothing.
        """
        left, top, right, bottom = shapely.total_bounds(self.polygons)
        col0, col1 = _span(left - margin, right + margin, smallest, self.width)
        row0, row1 = _span(top - margin, bottom + margin, smallest, self.height)
        return col0, row0, col1, row1

    def touches(self, tile: Tile, *, margin: float = 0) -> bool:
        """Return whether a tile comes within ``margin`` pixels of the area, so that it may show a building to keep."""
        return self._index.comes_within(shapely.box(*tile.bounds), margin)

    def keeps(self, footprints: Sequence[shapely.Geometry] | np.ndarray) -> np.ndarray:
        """Return which footprints, in pixels, lie inside by more than half of their area: (N,) bool."""
        return self._index.holds_most_of(np.asarray(footprints, dtype=object))

    def pixels_inside(self, bounds: tuple[int, int, int, int], *, pixel_size: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
        """Return which pixels of a window have their centre inside the area.

        Args:
            bounds: half-open, ``(col0, row0, col1, row1)``, in pixels of the size given, with the raster's origin.
            pixel_size: width and height of such a pixel in pixels of the working grid.

        Returns:
            (row1 - row0, col1 - col0) bool.
        """
        col0, row0, col1, row1 = bounds
        across, down = pixel_size
        near = self._index.meeting(col0 * across, row0 * down, col1 * across, row1 * down)
        if not len(near):
            return np.zeros((row1 - row0, col1 - col0), dtype=bool)
        place = Affine(across, 0, col0 * across, 0, down, row0 * down)
        return rasterize(near, out_shape=(row1 - row0, col1 - col0), transform=place, dtype="uint8").astype(bool)


def in_pixels(polygons: np.ndarray, crs_name: Any, raster: Ground, *, name: str) -> np.ndarray:
    """Bring polygons to pixels of a raster; of those far beyond it nothing is left.

    Args:
        polygons: (K,) in the coordinates of their CRS.
        crs_name: that CRS, by name or WKT; None where it is unknown, and taken for the raster's.
        raster: whose pixels.
        name: what messages call the polygons.

    Returns:
        (L,) polygons.

    Raises:
        VectorError: there is no way from the CRS to the raster's.
    """
    if crs_name is None and raster.crs is not None:
        logger.info("%s has no CRS; its coordinates are taken for the raster's.", name)
    if crs_name is not None and raster.crs is None:
        logger.warning("%s has no CRS; the coordinates of %s are taken for its own.", raster.name, name)
    if raster.crs is not None:
        try:
            target = pyproj.CRS.from_wkt(raster.crs.to_wkt())
            source = target if crs_name is None else pyproj.CRS.from_user_input(crs_name)
            polygons = to_raster_crs(polygons, source, target, _raster_bounds(raster))
        except ProjError as error:
            raise VectorError(
                f"{name} cannot be brought from {crs_name} to the raster's CRS: {error}.",
                hint="Save it in the raster's CRS.",
            ) from error
    return _mapped(polygons, ~raster.transform)


def _span(low: float, high: float, smallest: int, length: int) -> tuple[int, int]:
    """Return whole pixels around ``low .. high``, at least ``smallest`` of them, within ``0 .. length``."""
    start = max(0, math.floor(low + ROUNDING))
    stop = min(length, math.ceil(high - ROUNDING))
    size = max(stop - start, min(smallest, length))
    start = min(max(0, start - (size - (stop - start)) // 2), length - size)
    return start, start + size


def _mapped(geometry: np.ndarray | shapely.Geometry, transform: Affine) -> np.ndarray | shapely.Geometry:
    a, b, c, d, e, f = transform[:6]
    return shapely.transform(
        geometry, lambda p: np.stack([a * p[:, 0] + b * p[:, 1] + c, d * p[:, 0] + e * p[:, 1] + f], axis=1)
    )


def _raster_bounds(raster: Ground) -> tuple[float, float, float, float]:
    """Return the bounds of the raster in its own coordinates."""
    return tuple(shapely.bounds(_mapped(shapely.box(0, 0, raster.width, raster.height), raster.transform)).tolist())


def _shares_ground(area: np.ndarray, raster: Ground) -> bool:
    return len(cut_to(area, (0, 0, raster.width, raster.height))) > 0


def _numbers(bounds: Sequence[float]) -> str:
    return " ".join(f"{value:.10g}" for value in bounds)


def _beside(what: str, extent: Sequence[float], raster: Ground) -> str:
    return f"{what} lies beside {raster.name}: it spans {_numbers(extent)}, the raster {_numbers(_raster_bounds(raster))}"
