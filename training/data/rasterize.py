"""Turn polygons into pixels and back with numpy and shapely alone: a machine made for training needs no GDAL.

A pixel belongs to a polygon where its centre lies inside. All rings of a polygon count by the even-odd rule, which leaves its
holes empty. A centre on an edge belongs to the same side of it whatever polygon the edge is of: polygons that share an edge
neither overlap nor leave a gap. Coordinates are columns and rows, the origin is the top left corner of the top left pixel.

Rows are filled between the points where edges cross them (Foley, van Dam et al., Computer Graphics, section 3.6), here those of
all polygons at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely


class _Spans(NamedTuple):
    """Runs of pixels in a row, each (S,) int64: sorted by polygon, row and first column, none empty."""

    polygons: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def rasterize_labels(polygons: Sequence[shapely.Geometry], height: int, width: int) -> np.ndarray:
    """Return (H, W) int32: 0 is ground, i the pixels of ``polygons[i - 1]``; where two overlap, the later one is on top."""
    labels = np.zeros(height * width, dtype=np.int32)
    spans = _spans(polygons, height, width)
    pixels = _consecutive(spans.rows * width + spans.starts, spans.lengths)
    # Of several values for one pixel, numpy keeps the last.
    labels[pixels] = np.repeat(spans.polygons.astype(np.int32) + 1, spans.lengths)
    return labels.reshape(height, width)


def rasterize_masks(polygons: Sequence[shapely.Geometry], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of each polygon that has some, (K, H, W) bool, and which polygons these are, (K,) int64 in order."""
    spans = _spans(polygons, height, width)
    covering, places = np.unique(spans.polygons, return_inverse=True)
    masks = np.zeros(len(covering) * height * width, dtype=bool)
    masks[_consecutive((places * height + spans.rows) * width + spans.starts, spans.lengths)] = True
    return masks.reshape(len(covering), height, width), covering


def rasterize_layers(polygons: Sequence[shapely.Geometry], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Put polygons that may overlap into as few label maps as they need.

    Returns:
        (L, H, W) int32, L at least one: 0 is ground, i the ith of the polygons that have pixels, counted from one; the last of
        several at a pixel is in the first layer. And (K,) int64, which polygons have pixels, in order.
    """
    spans = _spans(polygons, height, width)
    covering, places = np.unique(spans.polygons, return_inverse=True)
    pixels = _consecutive(spans.rows * width + spans.starts, spans.lengths)
    numbers = np.repeat(places.astype(np.int32) + 1, spans.lengths)
    layers: list[np.ndarray] = []
    while len(pixels) or not layers:
        layer = np.zeros(height * width, dtype=np.int32)
        layer[pixels] = numbers  # of several values for one pixel, numpy keeps the last
        hidden = layer[pixels] != numbers
        pixels, numbers = pixels[hidden], numbers[hidden]
        layers.append(layer)
    return np.stack(layers).reshape(-1, height, width), covering


def outline_of_mask(mask: np.ndarray) -> shapely.Geometry:
    """Return the outline of a mask (H, W) along the edges of its pixels; rasterized, it is the mask again."""
    ends = np.diff(mask.T.astype(bool), axis=1, prepend=False, append=False)  # (W, H + 1): a run in a column begins or ends
    columns, rows = np.nonzero(ends)
    runs = shapely.box(columns[::2], rows[::2], columns[::2] + 1, rows[1::2])
    return shapely.simplify(shapely.union_all(runs), 0)  # drops the points on straight edges


def _spans(polygons: Sequence[shapely.Geometry], height: int, width: int) -> _Spans:
    """Return the spans of all polygons, cut to the raster."""
    parts, part_polygon = shapely.get_parts(np.asarray(polygons, dtype=object), return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    points, point_ring = shapely.get_coordinates(rings, return_index=True)
    begins = np.flatnonzero(point_ring[:-1] == point_ring[1:])  # the point at which each of E edges begins
    upper, lower = points[begins], points[begins + 1]  # (E, 2)
    rising = upper[:, 1] > lower[:, 1]
    upper[rising], lower[rising] = lower[rising], upper[rising]

    # An edge crosses the rows whose centres it reaches, its lower end not included: that belongs to the edge below.
    first, end = (np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64) for y in (upper[:, 1], lower[:, 1]))
    edges = np.repeat(np.arange(len(begins)), end - first)
    rows = _consecutive(first, end - first)
    (x, y), (run, fall) = upper[edges].T, (lower - upper)[edges].T
    crossings = x + (rows + 0.5 - y) * run / fall
    columns = np.clip(np.floor(crossings + 0.5), 0, width).astype(np.int64)

    # Closed rings cross a row an even number of times: in order, every two crossings bound a span.
    owners = part_polygon[ring_part[point_ring[begins]]][edges]
    ordered = np.sort((owners * height + rows) * (width + 1) + columns).reshape(-1, 2)
    lines, bounds = np.divmod(ordered, width + 1)
    lengths = bounds[:, 1] - bounds[:, 0]
    filled = lengths > 0
    owners, rows = np.divmod(lines[filled, 0], height)
    return _Spans(owners, rows, bounds[filled, 0], lengths[filled])


def _consecutive(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the numbers from each start on, as many as its length, one run after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
