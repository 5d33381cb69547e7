"""Draw outlines of masks as a person would: few straight edges, nearly all at right angles.

Several drawings of each outline compete: about the direction that most of its edges have and that of its smallest enclosing
rectangle, with oblique edges and without, with right angles and, where both directions are clear, in a skewed frame. The one
with the shortest description wins: each edge has a price, and so have the squared distances between the drawing and the mask
(see `edge_partition`). A pixel beside the mask's border costs next to nothing, which is how well a mask knows the border.

Edges are fitted to *all* pixel edges that they stand for, which places them to a fraction of a pixel; corners are where
neighbouring edges meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from engine.detection.edge_partition import ACROSS, ALONG, OBLIQUE, OBLIQUE_FROM, PRICES, Edges, Spans
from engine.detection.groups import around, first_of_each
from engine.detection.rings import Rings

TURN_TOLERANCE = 1.0
"""Pixels that the outline leaves a straight line between two points where edges may begin: the steps of an oblique edge are up
to 0.7 high."""

MOST_TURNS = 500
"""Such points of one outline. What has more is no building that anybody would straighten, and would take seconds."""

EDGE_WORTH = 44.0
"""Pixels of outline: an edge more has to explain as much squared distance as the mask's own wobble is on so many of them."""

LEAST_WOBBLE = 0.8
"""Pixels, root mean square. With that, an edge has to explain 28 cubic pixels. A notch or a bay has two edges more: it is drawn
where its width times the square of its depth is above some 60, such as 14 by 2 pixels or 4 by 4."""

SKEW_PRICE = 1.0
"""What a second direction of its own costs, in edges; without it, it is at right angles to the first."""

SKEWED_FROM, SKEWED_TO = math.radians(10), math.radians(50)
"""How far from right angles the directions of a skewed frame are."""

ROUND_PRICE = 6.0
"""What a circle costs, in edges: one that describes a mask better than any drawing with edges is a round tank."""

CORNER_WEIGHT = 3.5
"""Pixels of outline: the squared distance between a corner and where the outline turns weighs as much as that of so many."""

SAME_DIRECTION = math.radians(2)
"""Directions nearer to each other than this lead to the same drawing."""

_BINS = 20  # of directions, 4.5 degrees each


@dataclass
class _Drawings:
    """Polygons (P,) drawn with straight edges, or some of them.

    Attributes:
        along, across: (P,) angles of the two directions.
        edges: of all rings that are drawn.
        price: (P,) of edges and directions; infinite where there is no drawing.
        misfit: (P,) squared distance from the outline, integrated along it, in cubic pixels.
    """

    along: np.ndarray
    across: np.ndarray
    edges: Edges
    price: np.ndarray
    misfit: np.ndarray


def orthogonalized(outlines: np.ndarray) -> np.ndarray:
    """Draw outlines with few straight edges.

    Args:
        outlines: (N,) polygons along pixel edges.

    Returns:
        (N,) polygons, not all of them valid; None where an outline is round, cannot be drawn with straight edges, or turns at
        more than ``MOST_TURNS`` points. A hole too small for straight edges is left out.
    """
    result = np.full(len(outlines), None, dtype=object)
    if not len(outlines):
        return result
    rings = Rings.of(outlines)
    turns = rings.turns(TURN_TOLERANCE)
    smooth = np.bincount(rings.polygon[rings.ring], turns) <= MOST_TURNS
    if smooth.all():
        result[:] = _Drawer(rings, turns).polygons()
    else:
        result[smooth] = orthogonalized(outlines[smooth])
    return result


class _Drawer:
    """Draws polygons (P,), given their rings (R,) and those points of the rings, (N,) bool, where edges may begin."""

    def __init__(self, rings: Rings, turns: np.ndarray) -> None:
        self._rings = rings
        self._count = len(rings.origins)
        self._turn_ring, self._turn_points, moments = rings.moments_between(turns)
        self._spans = Spans.of(self._turn_ring, self._turn_points, moments)
        self._worth = np.full(self._count, EDGE_WORTH * LEAST_WOBBLE**2)

    def polygons(self) -> np.ndarray:
        """Return the best drawing of each polygon (P,), None where it has none or is round."""
        rings, best = self._rings, self._best()
        corners = self._corners(best.edges, best.along, best.across) + rings.origins[rings.polygon[best.edges.ring]]
        drawn = np.full(len(rings), None, dtype=object)
        which, ring = np.unique(best.edges.ring, return_inverse=True)
        # A millionth of a pixel: coordinates that are whole pixels come out whole.
        drawn[which] = shapely.linearrings(np.round(corners, 6), indices=ring)
        shells = np.flatnonzero(rings.is_shell)
        ends = np.append(shells[1:], len(rings))
        good = np.isfinite(best.price) & (self._whole_price(best) <= self._price_of_circles())
        result = np.full(self._count, None, dtype=object)
        result[good] = shapely.polygons(drawn[shells[good]])
        for k in np.flatnonzero(good & (ends - shells > 1)):
            result[k] = shapely.Polygon(drawn[shells[k]], [hole for hole in drawn[shells[k] + 1 : ends[k]] if hole is not None])
        return result

    def _best(self) -> _Drawings:
        commonest, enclosing = self._commonest_direction(), self._direction_of_rectangle()
        best = self._draw(commonest)
        apart = _apart(commonest, enclosing, math.pi / 2) > SAME_DIRECTION
        best = self._cheaper(best, self._draw(enclosing, only=apart))
        # The first drawing tells how much the mask wobbles, and tells directions better than what it was drawn about.
        distances = self._sum(best.edges, self._distances(best.edges, best.along, best.across))
        wobble = distances / np.maximum(self._sum(best.edges, best.edges.length), 1.0)
        self._worth = EDGE_WORTH * np.maximum(wobble, LEAST_WOBBLE**2)
        best = self._cheaper(best, self._draw(best.along))
        has_oblique = self._sum(best.edges, best.edges.kind == OBLIQUE) > 0
        best = self._cheaper(best, self._draw(best.along, oblique=False, only=has_oblique))
        along, across = self._separate_directions(best.edges)
        skew = _apart(across, along + math.pi / 2, math.pi)
        return self._cheaper(best, self._draw(along, across, only=(skew > SKEWED_FROM) & (skew < SKEWED_TO)))

    def _cheaper(self, one: _Drawings, other: _Drawings) -> _Drawings:
        """Take the cheaper drawing of each polygon, the first of equal ones."""
        better = self._whole_price(other) < self._whole_price(one)
        ours, theirs = (better[self._rings.polygon[each.edges.ring]] for each in (one, other))
        return _Drawings(
            np.where(better, other.along, one.along),
            np.where(better, other.across, one.across),
            Edges.joined([one.edges[~ours], other.edges[theirs]]),
            np.where(better, other.price, one.price),
            np.where(better, other.misfit, one.misfit),
        )

    def _whole_price(self, drawings: _Drawings) -> np.ndarray:
        return np.round(drawings.price + drawings.misfit / self._worth, 6)

    def _draw(
        self, along: np.ndarray, across: np.ndarray | None = None, *, oblique: bool = True, only: np.ndarray | None = None
    ) -> _Drawings:
        """Draw about two directions (P,), at right angles unless both are given, and then turn these to fit best."""
        square = across is None
        across = along + math.pi / 2 if square else across
        edges = []
        for spans in self._spans:
            polygon = self._rings.polygon[spans.rings]
            if only is not None:
                spans, polygon = spans[only[polygon]], polygon[only[polygon]]
            if len(spans):
                worth = self._worth[polygon]
                edges.append(spans.partitioned(along[polygon], across[polygon], worth, oblique=oblique))
        edges = Edges.joined(edges)
        if square:
            along = self._mean_angle(edges, np.choose(edges.kind, [1.0, -1.0, 0.0]) * self._rings.is_shell[edges.ring])
            across = along + math.pi / 2
        else:
            along, across = self._separate_directions(edges)
        price = self._sum(edges, np.take(PRICES, edges.kind)) + (0.0 if square else SKEW_PRICE)
        drawn = self._sum(edges, self._rings.is_shell[edges.ring]) > 0
        if not square:
            drawn &= _apart(across, along + math.pi / 2, math.pi) > SKEWED_FROM
        corners = ((self._corners(edges, along, across) - edges.start) ** 2).sum(axis=1)
        misfit = self._sum(edges, self._distances(edges, along, across) + CORNER_WEIGHT * corners)
        return _Drawings(along, across, edges, np.where(drawn, price, np.inf), misfit)

    def _distances(self, edges: Edges, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Return the squared distance (E,) between edges and outline, integrated along it."""
        polygon, scatter = self._rings.polygon[edges.ring], edges.scatter
        regular = scatter.around_line(np.where(edges.kind == ALONG, along[polygon], across[polygon]))
        return np.where(edges.kind == OBLIQUE, scatter.around_best_line(), regular)

    def _separate_directions(self, edges: Edges) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions (P,) of edges along and across, each that which fits them best."""
        along, across = (self._mean_angle(edges, (edges.kind == kind) * 1.0) for kind in (ALONG, ACROSS))
        return along, across

    def _mean_angle(self, edges: Edges, weight: np.ndarray) -> np.ndarray:
        x, y = (self._sum(edges, weight * lean) for lean in edges.scatter.lean)
        return np.arctan2(y, x) / 2

    def _sum(self, edges: Edges, values: np.ndarray) -> np.ndarray:
        """Add up values of edges (E,) by polygon (P,)."""
        return np.bincount(self._rings.polygon[edges.ring], values, minlength=self._count).astype(float)

    def _corners(self, edges: Edges, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Return where each edge meets the one before it (E, 2); where they are all but parallel, where the outline turns."""
        polygon = self._rings.polygon[edges.ring]
        angle = np.choose(edges.kind, [along[polygon], across[polygon], edges.scatter.best_angles()])
        a, b = -np.sin(angle), np.cos(angle)
        c = a * edges.centre[:, 0] + b * edges.centre[:, 1]
        before, _ = around(edges.ring)
        determinant = a[before] * b - b[before] * a
        crosses = np.abs(determinant) > math.sin(OBLIQUE_FROM / 2)
        crossing = np.stack([c[before] * b - b[before] * c, a[before] * c - c[before] * a], axis=-1)
        return np.where(crosses[:, None], crossing / np.where(crosses, determinant, 1.0)[:, None], edges.start)

    def _commonest_direction(self) -> np.ndarray:
        """Return the direction (P,) that most of each shell's outline is about along or across, by squared lengths."""
        x, y = (self._turn_points[around(self._turn_ring)[1]] - self._turn_points).T
        edge, length = x + 1j * y, np.hypot(x, y)
        weight = length**2 * self._rings.is_shell[self._turn_ring]
        quarters = np.angle(edge) / (math.pi / 2) % 1  # directions repeat after a quarter turn
        group = self._rings.polygon[self._turn_ring] * _BINS + np.minimum((quarters * _BINS).astype(int), _BINS - 1)
        fourfold = (edge / np.where(length > 0, length, 1)) ** 4 * weight
        sums = [np.bincount(group, part, minlength=self._count * _BINS) for part in (weight, fourfold.real, fourfold.imag)]
        sums = np.reshape(sums, (3, self._count, _BINS))
        weight, x, y = sums + np.roll(sums, 1, axis=2) + np.roll(sums, -1, axis=2)
        most = np.arange(self._count), weight.argmax(axis=1)
        return np.arctan2(y[most], x[most]) / 4

    def _direction_of_rectangle(self) -> np.ndarray:
        """Return the direction (P,) of the smallest rectangle that encloses each polygon."""
        rectangles = shapely.oriented_envelope(self._rings.rings[self._rings.is_shell])
        corners, polygon = shapely.get_coordinates(rectangles, return_index=True)
        first = first_of_each(polygon)
        x, y = (corners[first + 1] - corners[first]).T
        return np.arctan2(y, x)

    def _price_of_circles(self) -> np.ndarray:
        """Return what each polygon (P,) costs as a circle: infinite where it has holes."""
        rings = self._rings
        moments = rings.moments()
        length, x, y, xx, _, yy = (np.bincount(rings.ring, each, minlength=len(rings)) for each in moments.T)
        at = rings.points - (np.stack([x, y], axis=-1) / length[:, None])[rings.ring]
        # Simpson's rule along each edge: too small a mean radius for long edges, so too high a price, which is harmless.
        ends, middle = np.hypot(*at.T), np.hypot(*(at + rings.edges() / 2).T)
        radii = (ends + 4 * middle + ends[around(rings.ring)[1]]) / 6
        radius = np.bincount(rings.ring, radii * moments[:, 0], minlength=len(rings)) / length
        distance = xx + yy - (x * x + y * y) / length - length * radius**2
        holes = np.bincount(rings.polygon) > 1
        return np.where(holes, np.inf, ROUND_PRICE + distance[rings.is_shell] / self._worth)


def _apart(one: np.ndarray, other: np.ndarray, period: float) -> np.ndarray:
    """Return the angle between directions that repeat with a period."""
    return np.abs((one - other + period / 2) % period - period / 2)
