"""How well the outline of a detection agrees with that of the annotation that it was matched with.

Each function takes two arrays (N,) of valid polygons or multipolygons, of one plane, and compares them row by row.
"""

from __future__ import annotations

import numpy as np
import shapely

BOUNDARY_WIDTH = 1.0
"""Metres. Boundary IoU leaves the width to its user, as about the ambiguity of careful annotators (2 % of the picture's
diagonal in COCO). Footprints drawn twice from imagery at 0.3 m differ by some three pixels."""


def area_errors(detections: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Return (detected - annotated) / annotated area, (N,); below 0 where the detection is too small.

    The plain relative error of a measured quantity, with its sign: what a sum of built-up area is off by.
    """
    return shapely.area(detections) / shapely.area(annotations) - 1


def polis_distances(detections: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Return the PoLiS distance (N,), in the unit of the coordinates: 0 for equal outlines.

    Half the mean distance of one's vertices from the other's border, plus half of that the other way round (Avbelj, Mueller
    and Bamler 2015, A Metric for Polygon Comparison and Building Extraction Evaluation, IEEE GRSL 12(1)). The border
    includes that of holes.
    """
    return (_distances_to_border(detections, annotations) + _distances_to_border(annotations, detections)) / 2


def boundary_ious(detections: np.ndarray, annotations: np.ndarray, *, width: float = BOUNDARY_WIDTH) -> np.ndarray:
    """Return the IoU (N,) of the strips that lie inside within ``width`` of each border.

    Boundary IoU (Cheng et al. 2021, arXiv 2103.16562, equation 2), on polygons instead of pixels. A footprint narrower than
    twice the width is all strip, and then this is its IoU.
    """
    inner_d, inner_a = (shapely.buffer(shapes, -width, quad_segs=4) for shapes in (detections, annotations))
    # A strip is a footprint without its inner part. The product of two such differences needs no polygon with a hole.
    shared = (
        _shared_area(detections, annotations)
        - _shared_area(inner_d, annotations)
        - _shared_area(detections, inner_a)
        + _shared_area(inner_d, inner_a)
    )
    strips = shapely.area(detections) - shapely.area(inner_d) + shapely.area(annotations) - shapely.area(inner_a)
    return np.clip(shared / (strips - shared), 0.0, 1.0)


def vertex_ratios(detections: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Return detected over annotated number of vertices (N,): the N ratio of Zorzi et al. 2022, PolyWorld, arXiv 2111.15491."""
    return vertex_counts(detections) / vertex_counts(annotations)


def direction_errors(detections: np.ndarray, annotations: np.ndarray) -> np.ndarray:
    """Return by how many degrees the main directions differ (N,), 0 to 45.

    The main direction of a footprint is that of its smallest enclosing rectangle (Freeman and Shapira 1975, Determining the
    minimum-area encasing rectangle for an arbitrary closed curve, CACM 18(7)), whose sides are not told apart here: so modulo
    90 degrees.
    """
    turned = np.abs(main_directions(detections) - main_directions(annotations)) % 90
    return np.minimum(turned, 90 - turned)


def main_directions(shapes: np.ndarray) -> np.ndarray:
    """Return the direction (N,) of the sides of the smallest enclosing rectangle in degrees, 0 up to 90, from the x axis."""
    corners, owner = shapely.get_coordinates(shapely.minimum_rotated_rectangle(shapes), return_index=True)
    first = np.searchsorted(owner, np.arange(len(shapes)))
    side = corners[first + 1] - corners[first]
    return np.degrees(np.arctan2(side[:, 1], side[:, 0])) % 90


def vertex_counts(shapes: np.ndarray) -> np.ndarray:
    """Return how many corners the outlines have (N,), those of holes included; the point that closes a ring is not one."""
    return np.bincount(_vertices(shapes)[1], minlength=len(shapes))


def _vertices(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices (V, 2) and the row (V,) that each belongs to."""
    parts, part_owner = shapely.get_parts(shapes, return_index=True)
    rings, ring_owner = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    kept = np.diff(ring, prepend=-1) == 0  # the first point of a ring is its last one again
    return points[kept], part_owner[ring_owner[ring[kept]]]


def _distances_to_border(shapes: np.ndarray, others: np.ndarray) -> np.ndarray:
    points, owner = _vertices(shapes)
    distances = shapely.distance(shapely.points(points), shapely.boundary(others)[owner])
    return np.bincount(owner, distances, minlength=len(shapes)) / np.bincount(owner, minlength=len(shapes))


def _shared_area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return shapely.area(shapely.intersection(first, second))
