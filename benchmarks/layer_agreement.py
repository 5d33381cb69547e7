"""Compare two layers of polygons of the same ground: which have a partner, and how well they agree."""

from __future__ import annotations

import numpy as np
import shapely


def best_overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return for each polygon of the first layer its highest IoU with one of the second, 0 where it meets none: (N,)."""
    ours, theirs = shapely.STRtree(second).query(first, predicate="intersects")
    shared = shapely.area(shapely.intersection(first[ours], second[theirs]))
    overlap = shared / (shapely.area(first[ours]) + shapely.area(second[theirs]) - shared)
    best = np.zeros(len(first))
    np.maximum.at(best, ours, overlap)
    return best
