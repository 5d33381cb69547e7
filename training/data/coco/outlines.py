"""COCO's segmentations: rings and run lengths, as geometry and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from pycocotools import mask as run_lengths

from engine.vector.valid_polygons import polygons_in

DECIMALS = 2  # of a coordinate in a COCO file: half a hundredth of a pixel is far below what anybody digitises
_SNAP = 6  # decimals
_LARGEST_MASK = 1 << 28  # pixels, of run lengths; larger ones are no mask of a picture
_ROUNDS = 4  # in which rounding coordinates may make an outline cross itself again


def sound_rings(rings: list[Any]) -> tuple[list[list[float]], list[Any]]:
    """Split a list in those that are rings, three points or more as x and y by turns, and the rest."""
    sound, malformed = [], []
    for ring in rings:
        try:
            finite = isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0 and math.isfinite(sum(ring))
        except (TypeError, OverflowError):  # something in it is no number
            finite = False
        (sound if finite else malformed).append(ring)
    return sound, malformed


def encoded_runs(segmentation: dict[str, Any]) -> dict[str, Any] | None:
    """Return run lengths, compressed or plain, as pycocotools encodes them; None if they are none or do not fill their mask.

    pycocotools itself does not look: of those that do not fill the mask, the rest of it is whatever was in memory.
    """
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        return None
    if size[0] * size[1] > _LARGEST_MASK:
        return None
    try:
        runs = counts if isinstance(counts, list) else run_counts(counts.encode("ascii"))
        if sum(runs) != size[0] * size[1] or min(runs) < 0 or not all(isinstance(run, int) for run in runs):
            return None
        return run_lengths.frPyObjects({"size": size, "counts": runs}, *size)
    except (AttributeError, TypeError, ValueError):
        return None


def run_counts(text: bytes) -> list[int]:
    """Return the lengths of runs, of zeros and ones by turns and down the columns, as pycocotools' ``encode`` writes them.

    Each number is written in pieces of five bits, the lowest first, as characters from ``0`` on; bit 5 says that more follow,
    and bit 4 of the last one is the sign. From the fourth number on, it is the difference to the last but one.

    Raises:
        ValueError: the text ends within a number, or has other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        piece = character - 48
        if not 0 <= piece < 64:
            raise ValueError(f"{chr(character)!r} stands in no run lengths")
        value |= (piece & 31) << shift
        shift += 5
        if piece & 32:
            continue
        if piece & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the run lengths end within a number")
    return counts


def snapped(points: np.ndarray) -> np.ndarray:
    """Round coordinates to a millionth of a pixel: at differences far below that GEOS fails to unite or cut polygons."""
    return np.round(points, _SNAP)


def polygon_of_rings(rings: Sequence[Sequence[float] | np.ndarray]) -> shapely.Geometry:
    """Join COCO rings, x and y by turns, into one valid geometry of polygons; it is empty where no ring holds any area."""
    polygons = []
    for ring in rings:
        points = np.asarray(ring, dtype=float).reshape(-1)
        points = snapped(points[: len(points) // 2 * 2].reshape(-1, 2))
        if len(points) >= 3 and np.isfinite(points).all():
            polygons.append(shapely.make_valid(shapely.Polygon(points)))
    joined = shapely.union_all(polygons) if polygons else shapely.Polygon()
    parts = polygons_in(joined)
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def mended_rings(rings: Sequence[Sequence[float]], width: int, height: int) -> list[list[float]]:
    """Return rings cut at the border of their image, none of which crosses itself; none where nothing is left."""
    whole = shapely.intersection(polygon_of_rings(rings), shapely.box(0, 0, width, height))
    for _ in range(_ROUNDS):
        written = rings_of(shapely.set_precision(whole, 10.0**-DECIMALS))
        if all(shapely.is_valid(shapely.Polygon(np.reshape(ring, (-1, 2)))) for ring in written):
            return written
        whole = polygon_of_rings(written)
    return []


def rings_of(geometry: shapely.Geometry) -> list[list[float]]:
    """Write a geometry as COCO rings: x and y by turns, each ring once round without its first point again.

    The rings of an annotation are united by whoever reads them, so a ring cannot be a hole. A polygon with holes is cut in
    two through each of them; the halves are rings that share the cut, and together they are the polygon, hole and all.
    """
    rings = []
    for part in polygons_in(geometry):
        for simple in _without_holes(part):
            points = np.round(shapely.get_coordinates(simple.exterior)[:-1], DECIMALS)
            points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
            if len(points) >= 3:
                rings.append((points + 0.0).ravel().tolist())  # + 0.0: no minus zero
    return rings


def _without_holes(polygon: shapely.Polygon) -> Sequence[shapely.Polygon]:
    if not polygon.interiors:
        return [polygon]
    low_x, low_y, high_x, high_y = shapely.bounds(polygon)
    left, _, right, _ = shapely.bounds(polygon.interiors[0])
    middle = (left + right) / 2
    rounded = round(middle, DECIMALS)  # the halves meet exactly, rounded or not
    line = rounded if left < rounded < right else middle
    halves = (shapely.box(low_x - 1, low_y - 1, line, high_y + 1), shapely.box(line, low_y - 1, high_x + 1, high_y + 1))
    return [
        simple
        for half in halves
        for part in polygons_in(shapely.intersection(polygon, half))
        for simple in _without_holes(part)
    ]
