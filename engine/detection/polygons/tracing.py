"""Turn the masks of buildings into polygons along their pixels' exact borders.

Many small masks are laid out on one canvas and polygonised in one call, which takes a tenth of the time of a call each.
Coordinates are whole pixels of the working grid, x to the right, y down.

A polygon is one part connected by the edges of pixels. Parts that meet at a corner alone are polygons of their own, and
ground that meets the outside at a corner alone is a hole that touches the shell there: both valid simple features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from rasterio.features import shapes
from shapely import Polygon

from engine.detection.merging.tile_instances import OffsetMask

CANVAS_WIDTH = 2048
CANVAS_PIXELS = 2**22
"""Pixels of one canvas: enough to spread the cost of a call over hundreds of buildings, and 16 MiB of memory."""


class _Canvas(NamedTuple):
    """Some of the buildings side by side: ``labels`` holds 1 + the position in ``members``, 0 is ground."""

    members: list[int]
    tops: list[int]
    lefts: list[int]
    labels: np.ndarray


def polygons_of(buildings: Sequence[OffsetMask]) -> list[list[Polygon]]:
    """Trace the outlines of masks.

    Args:
        buildings: anything with ``col``, ``row`` and ``mask``.

    Returns:
        For each building one polygon a 4-connected part, the largest first. Coordinates are whole numbers, and no ring has a
        vertex on a straight edge.
    """
    found: list[list[Polygon]] = [[] for _ in buildings]
    for canvas in _canvases(buildings):
        for geometry, value in shapes(canvas.labels, mask=canvas.labels > 0, connectivity=4):
            position = int(value) - 1
            building = buildings[canvas.members[position]]
            shift = (building.col - canvas.lefts[position], building.row - canvas.tops[position])
            shell, *holes = (np.asarray(ring) + shift for ring in geometry["coordinates"])
            found[canvas.members[position]].append(Polygon(shell, holes))
    for polygons in found:
        if len(polygons) > 1:
            polygons.sort(key=lambda polygon: (-polygon.area, polygon.bounds))
    return found


def _canvases(buildings: Sequence[OffsetMask]) -> Iterator[_Canvas]:
    """Lay masks out in shelves, a pixel of ground between them. A mask larger than a canvas gets one of its own size."""
    # Masks of like height share a shelf, so that little of the canvas is empty.
    order = sorted(range(len(buildings)), key=lambda index: -buildings[index].mask.shape[0])
    start = 0
    while start < len(order):
        width = max(CANVAS_WIDTH, buildings[order[start]].mask.shape[1])
        members: list[int] = []
        tops: list[int] = []
        lefts: list[int] = []
        top = left = bottom = 0
        for index in order[start:]:
            height, breadth = buildings[index].mask.shape
            if left + breadth > width:
                top, left = bottom + 1, 0
            if members and (breadth > width or (top + height) * width > CANVAS_PIXELS):
                break
            members.append(index)
            tops.append(top)
            lefts.append(left)
            left += breadth + 1
            bottom = max(bottom, top + height)
        labels = np.zeros((bottom, width), dtype=np.int32)
        for number, (index, row, col) in enumerate(zip(members, tops, lefts, strict=True), 1):
            mask = buildings[index].mask
            labels[row : row + mask.shape[0], col : col + mask.shape[1]] = mask * np.int32(number)
        yield _Canvas(members, tops, lefts, labels)
        start += len(members)
