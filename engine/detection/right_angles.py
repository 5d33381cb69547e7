"""Straighten outlines of buildings: walls along each one's own two main directions, oblique ones kept where they are real.

The outline of a mask is a chain of pixel edges. A simplified outline tells where its walls begin and end; each wall is then
fitted to *all* the pixel edges between, which places it to a fraction of a pixel, where the simplified outline itself goes
through corners of pixels. Walls that bend less than two pixels away from a main direction take that direction. Corners are
where neighbouring walls meet.
"""

from __future__ import annotations

import math

import numpy as np
import shapely

from engine.detection.groups import first_of_each, first_with_most, pairs
from engine.detection.rings import Rings, Stretches
from engine.detection.walls import SHORTEST_WALL, Walls, corners_without_steps, turned

LEAST_REGULAR = 0.5
"""Share of an outline along the main directions; with less of it, it is round or has no main direction."""

MOST_CORNERS = 500
"""Vertices of a simplified outline. What has more is no building that anybody would square, and would take seconds."""

AGREEMENT = math.radians(8)
"""Angle within which edges speak for the same main direction: a pixel in seven, as far as a short wall's edge may be off."""


def squared(outlines: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Square outlines.

    Args:
        outlines: (N,) polygons along pixel edges.
        views: (N,) the same polygons simplified to some of their vertices.

    Returns:
        (N,) polygons, not all of them valid; None where too little of the outline is along the main directions, or the view
        has more than ``MOST_CORNERS``. Holes of which the first is true stay as the view has them.
    """
    result = np.full(len(outlines), None, dtype=object)
    fit = shapely.get_num_interior_rings(outlines) == shapely.get_num_interior_rings(views)
    fit = np.flatnonzero(fit & (shapely.get_num_coordinates(views) <= MOST_CORNERS))
    if not len(fit):
        return result
    origins = shapely.bounds(outlines[fit])[:, :2]
    drawn, seen = Rings.of(outlines[fit], origins), Rings.of(views[fit], origins)
    stretches = Stretches.between(drawn.are_on(seen), drawn)
    polygon = drawn.polygon[stretches.ring]

    angle = main_directions(seen)
    walls = stretches.walls(angle[polygon])
    usable = _mostly_regular(walls, len(drawn)) | ~drawn.is_shell
    # The pixels of whole walls tell the direction better than the vertices of the simplified outline did.
    shell = drawn.is_shell[stretches.ring]
    angle += _mean_errors(walls[shell], polygon[shell], len(angle))

    walls = stretches.walls(angle[polygon])
    usable &= _mostly_regular(walls, len(drawn))
    corners, ring = corners_without_steps(walls[usable[walls.ring]].merged())
    corners = turned(corners, angle[drawn.polygon[ring]]) + origins[drawn.polygon[ring]]
    straight = np.full(len(drawn), None, dtype=object)
    if len(ring):
        which, ring = np.unique(ring, return_inverse=True)
        # A millionth of a pixel: sums of whole pixels along the rows come out whole.
        straight[which] = shapely.linearrings(np.round(corners, 6), indices=ring)
    result[fit] = _polygons(straight, drawn.is_shell, instead=seen.rings)
    return result


def main_directions(rings: Rings) -> np.ndarray:
    """Return the angle, in radians between -pi/4 and pi/4, of the direction that most of each polygon is along or across.

    Around the edge that most others agree with, the mean of the edges' directions on a circle of 90 degrees. A mean of all
    would lie between the wings of a building with an oblique one. Long edges weigh more than in proportion: the direction of
    an edge is as uncertain as it is short.

    Args:
        rings: of simplified outlines.
    """
    edges = rings.edges() @ np.array([1, 1j])
    polygon = rings.polygon[rings.ring]
    direction = 4 * np.angle(edges)  # turns once in 90 degrees
    weight = np.abs(edges) ** 2
    support = np.zeros(len(edges))
    for i, j in pairs(polygon, polygon):
        support += np.bincount(i, _agreement(direction[i] - direction[j]) * weight[j], minlength=len(edges))
    first = first_of_each(polygon)
    centre = np.repeat(direction[first_with_most(polygon, support)], np.diff(first, append=len(polygon)))
    return np.angle(np.add.reduceat(_agreement(direction - centre) * weight * np.exp(1j * direction), first)) / 4


def _agreement(apart: np.ndarray) -> np.ndarray:
    """Say how far edges agree, 1 to 0, by the difference of their directions, which turn once in 90 degrees."""
    apart = (apart - 2 * math.pi * np.round(apart / (2 * math.pi))) / 4
    return np.exp(-((apart / AGREEMENT) ** 2))


def _mostly_regular(walls: Walls, rings: int) -> np.ndarray:
    """Say which rings are along the main directions for the most part."""
    regular, whole = (
        np.bincount(walls.ring, lengths, minlength=rings) for lengths in (walls.length * walls.regular, walls.length)
    )
    return regular >= LEAST_REGULAR * whole


def _mean_errors(walls: Walls, polygon: np.ndarray, polygons: int) -> np.ndarray:
    """Return the mean angle between the walls along main directions and those directions, as their pixels tell."""
    telling = walls.regular & (walls.length >= 2 * SHORTEST_WALL)
    walls, polygon = walls[telling], polygon[telling]
    total = np.exp(4j * walls.angles()) * walls.length**3
    return np.arctan2(*(np.bincount(polygon, part, minlength=polygons) for part in (total.imag, total.real))) / 4


def _polygons(rings: np.ndarray, is_shell: np.ndarray, *, instead: np.ndarray) -> np.ndarray:
    """Put rings together to polygons: None where a shell is missing, another hole instead of one that is."""
    begins = np.flatnonzero(is_shell)
    ends = np.append(begins[1:], len(rings))
    result = np.full(len(begins), None, dtype=object)
    there = ~shapely.is_missing(rings[begins])
    result[there] = shapely.polygons(rings[begins[there]])
    for k in np.flatnonzero(there & (ends - begins > 1)):
        holes = slice(begins[k] + 1, ends[k])
        result[k] = shapely.Polygon(rings[begins[k]], np.where(shapely.is_missing(rings[holes]), instead[holes], rings[holes]))
    return result
