"""Turn outlines along pixel borders into outlines such as a person would draw.

* ``raw``: the pixel borders.
* ``simplified``: without the steps of the pixels, every vertex within a pixel of the raw outline (Douglas and Peucker 1973,
  keeping the topology).
* ``regular``: few straight edges at right angles along the building's own main direction, oblique ones where the mask clearly
  has them (see `orthogonalize`). What is round, turns at hundreds of points, or could not be fitted is the simplified outline;
  where that in turn is not valid, the raw one.

Every outline is made by itself. Neighbours may overlap, or leave a gap, by about a pixel along a common wall, and their
directions differ by as much as their masks do: buildings come in batches that depend on when their tiles were done, so that
whatever one took over from another would depend on that too.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import shapely
from shapely import Polygon

from engine.detection.polygons.orthogonalize import orthogonalized
from engine.detection.polygons.shared_area import intersection_over_union

Outline = Literal["regular", "simplified", "raw"]

TOLERANCE = 1.0
"""Pixels that a simplified outline may leave the raw one: the steps of an oblique edge are up to 0.7 high."""

LARGEST_CHANGE = 0.1
"""Share of the area that a simplified outline may gain or lose; where it would be more, the raw one is kept."""

LEAST_SHARED = 0.7
"""Intersection over union of a regular outline with the raw one, at least. It is rarely below 0.8."""

SMALLEST_HOLE = 9.0
"""Square pixels. A smaller hole is a speck in the mask; a raw outline keeps it."""


def outlines_of(polygons: Any, *, kind: Outline, pixel_size: tuple[float, float] | None = None) -> np.ndarray:
    """Return outlines of the kind that is wanted.

    Args:
        polygons: (N,) valid polygons along pixel borders, in pixels.
        kind: ``regular``, ``simplified`` or ``raw``.
        pixel_size: length of a pixel on the ground along x and y, in any unit; None for square ones. Right angles are those
            on the ground.

    Returns:
        (N,) valid polygons in pixels.
    """
    raw = np.asarray(polygons, dtype=object)
    if kind == "raw" or not len(raw):
        return raw
    scale = np.ones(2) if pixel_size is None else np.asarray(pixel_size) / np.mean(pixel_size)
    on_ground = raw if (scale == 1).all() else shapely.transform(raw, lambda points: points * scale)
    whole = _without_specks(on_ground)
    outlines = _regular(on_ground, whole) if kind == "regular" else _simplified(on_ground, whole)
    return outlines if on_ground is raw else shapely.transform(outlines, lambda points: points / scale)


def _regular(raw: np.ndarray, whole: np.ndarray) -> np.ndarray:
    outlines = orthogonalized(whole)
    usable = shapely.is_valid(outlines)
    usable[usable] = intersection_over_union(outlines[usable], raw[usable]) >= LEAST_SHARED
    outlines[~usable] = _simplified(raw[~usable], whole[~usable])
    return outlines


def _simplified(raw: np.ndarray, whole: np.ndarray) -> np.ndarray:
    outlines = shapely.simplify(whole, TOLERANCE, preserve_topology=True)
    usable = shapely.is_valid(outlines) & (shapely.get_type_id(outlines) == shapely.GeometryType.POLYGON)
    # Of a building of a few pixels, a pixel less may be half.
    areas = shapely.area(raw)
    return np.where(usable & (np.abs(shapely.area(outlines) - areas) <= LARGEST_CHANGE * areas), outlines, raw)


def _without_specks(polygons: np.ndarray) -> np.ndarray:
    result = polygons.copy()
    for index in np.flatnonzero(shapely.get_num_interior_rings(polygons)):
        shell, *holes = shapely.get_rings(polygons[index])
        result[index] = Polygon(shell, [hole for hole in holes if Polygon(hole).area >= SMALLEST_HOLE])
    return result
