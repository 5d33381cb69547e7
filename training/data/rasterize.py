"""Turn polygons into pixels, with numpy alone: a machine made for training needs no GDAL.

A pixel belongs to a polygon where its centre lies inside. Rings are taken together by the even-odd rule, which leaves holes
empty. Where a centre lies on an edge, it belongs to one side of it, the same for every polygon: polygons that share an edge
neither overlap nor leave a gap.

The lines of pixels are filled one span at a time, as scan-line algorithms do (Foley and van Dam, Computer Graphics, 3.6), but
for all polygons at once. Coordinates are columns and rows, with the origin at the top left corner of the top left pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely


class _Spans(NamedTuple):
    """Stretches of pixels, each (S,): lines are counted through the rasters of all polygons, ``polygon * height + row``."""

    lines: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def rasterize_labels(polygons: Sequence[shapely.Geometry], height: int, width: int) -> np.ndarray:
    """Return (H, W) int32: 0 is ground, i the pixels of ``polygons[i - 1]``; where two overlap, the later one is on top."""
    labels = np.zeros(height * width, dtype=np.int32)
    spans = _spans(polygons, height, width)
    numbers, rows = np.divmod(spans.lines, height)
    # Of values for the same pixel, numpy keeps the last one.
    labels[_pixels(rows * width + spans.starts, spans.lengths)] = np.repeat(numbers.astype(np.int32) + 1, spans.lengths)
    return labels.reshape(height, width)


def rasterize_masks(polygons: Sequence[shapely.Geometry], height: int, width: int) -> np.ndarray:
    """Return (N, H, W) bool: the pixels of each polygon, which may overlap others, or have none."""
    masks = np.zeros(len(polygons) * height * width, dtype=bool)
    spans = _spans(polygons, height, width)
    masks[_pixels(spans.lines * width + spans.starts, spans.lengths)] = True
    return masks.reshape(len(polygons), height, width)


def outline_of_mask(mask: np.ndarray) -> shapely.Geometry:
    """Return the outline of a mask (H, W) along the edges of its pixels; rasterized, it is the mask again."""
    edges = np.diff(mask.T.astype(bool), axis=1, prepend=False, append=False)  # (W, H + 1): a run of a column begins, or ends
    columns, rows = np.nonzero(edges)
    runs = shapely.box(columns[::2], rows[::2], columns[::2] + 1, rows[1::2])
    return shapely.simplify(shapely.union_all(runs), 0)  # which leaves out points on straight edges


def _spans(polygons: Sequence[shapely.Geometry], height: int, width: int) -> _Spans:
    """Return the spans of all polygons, in their order, cut to the raster."""
    parts, owner = shapely.get_parts(np.asarray(polygons, dtype=object), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    first = np.flatnonzero(ring[:-1] == ring[1:])  # point of each edge
    upper, lower = points[first], points[first + 1]  # (E, 2)
    upward = upper[:, 1] > lower[:, 1]
    upper[upward], lower[upward] = lower[upward], upper[upward]

    # An edge crosses the rows whose centre it reaches, its lower end left out: that one belongs to the next edge.
    top, bottom = (np.clip(np.ceil(ends[:, 1] - 0.5), 0, height).astype(np.int64) for ends in (upper, lower))
    edge = np.repeat(np.arange(len(first)), bottom - top)
    row = _pixels(top, bottom - top)
    (x, y), (run, rise) = upper[edge].T, (lower - upper)[edge].T
    crossing = (row + 0.5 - y) * run / rise + x
    column = np.clip(np.floor(crossing + 0.5), 0, width).astype(np.int64)

    # A closed ring crosses a row an even number of times: sorted, every two crossings bound a span.
    line = owner[part[ring[first]]][edge] * height + row
    lines, columns = np.divmod(np.sort(line * (width + 1) + column).reshape(-1, 2), width + 1)
    return _Spans(lines[:, 0], columns[:, 0], columns[:, 1] - columns[:, 0])


def _pixels(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the numbers of stretches one after the other: from each start as many as its length."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
