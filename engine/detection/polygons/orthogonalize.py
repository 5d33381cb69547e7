"""Fit outlines of masks as a person would draw them: few straight edges, nearly all at right angles.

Several fits of each outline compete: about the direction that most of its edges have and about that of its smallest enclosing
rectangle, with oblique edges and without, with right angles and, where both directions are clear, in a skewed frame. The one
with the shortest description wins: each edge has a price, and so has the squared distance between the fit and the mask
(see `edge_partition`). A pixel beside the mask's border costs next to nothing; masks know their borders no better.

Edges are fitted to *all* pixel edges that they stand for, which places them to a fraction of a pixel; corners are where
neighbouring edges meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from engine.detection.polygons.edge_partition import ACROSS, ALONG, OBLIQUE, OBLIQUE_FROM, PRICES, Edges, Spans
from engine.detection.polygons.rings import Rings, around, first_of_each

TURN_TOLERANCE = 1.0
"""Pixels that the outline leaves a straight line between two points where edges may begin: the steps of an oblique edge are up
to 0.7 high."""

MOST_TURNS = 500
"""Such points of one polygon. What has more is no building that anybody would straighten, and takes long."""

NOISE_LENGTH = 44.0
"""Pixels of outline: the squared distance that the mask's noise makes on so many of them costs as much as an edge."""

LEAST_NOISE = 0.8
"""Pixels, root mean square, that a mask's border is off at least. An edge then costs as much as 28 cubic pixels of squared
distance. A notch at a corner has two edges more: it stays where its width times the square of its depth is above some 60, such
as 14 by 2 pixels or 4 by 4. A bay within an edge has four more, and has to be twice as large."""

CORNER_LENGTH = 5.0
"""Pixels of outline: the squared distance between a corner and where the outline turns counts as much as on so many of them."""

SKEW_PRICE = 0.5
"""Of a second direction that is not at right angles to the first, in edges."""

MOST_SKEWED = math.radians(50)
"""How far from right angles it may be; it is as far at least as an oblique edge is from either direction."""

ROUND_PRICE = 6.0
"""Of a circle, in edges: one that describes a mask better than any fit with edges is a round tank."""

SAME_DIRECTION = math.radians(2)
"""Directions nearer to each other than this lead to the same fit."""

_BINS = 20  # of directions, 4.5 degrees each


def orthogonalized(outlines: np.ndarray) -> np.ndarray:
    """Fit few straight edges to outlines.

    Args:
        outlines: (N,) polygons along pixel edges.

    Returns:
        (N,) polygons, not all of them valid; None where an outline is round, cannot be fitted with straight edges, or turns at
        more than ``MOST_TURNS`` points. A hole too small or too narrow for straight edges is left out.
    """
    result = np.full(len(outlines), None, dtype=object)
    if not len(outlines):
        return result
    rings = Rings.of(outlines)
    turns = rings.turns(TURN_TOLERANCE)
    few = np.bincount(rings.polygon[rings.ring], turns) <= MOST_TURNS
    if few.all():
        result[:] = _Fitter(rings, turns).polygons()
    else:
        result[few] = orthogonalized(outlines[few])
    return result


@dataclass
class _Fit:
    """Straight edges of polygons (P,), or of some of them.

    Attributes:
        along, across: (P,) angles of the two directions.
        edges: of all rings that are fitted.
        price: (P,) of edges and directions; infinite where there is no fit.
        residual: (P,) squared distance from the outline, integrated along it, in cubic pixels.
    """

    along: np.ndarray
    across: np.ndarray
    edges: Edges
    price: np.ndarray
    residual: np.ndarray


class _Fitter:
    """Fits polygons (P,), given their rings (R,) and at which points of these, (N,) bool, edges may begin."""

    def __init__(self, rings: Rings, turns: np.ndarray) -> None:
        self._rings = rings
        self._count = len(rings.origins)
        self._turn_ring, self._turn_points, moments = rings.moments_between(turns)
        self._spans = Spans.of(self._turn_ring, self._turn_points, moments)
        self._scale = np.full(self._count, NOISE_LENGTH * LEAST_NOISE**2)  # residual that costs as much as an edge

    def polygons(self) -> np.ndarray:
        """Return the best fit of each polygon (P,), None where it has none or is round."""
        rings, best = self._rings, self._best()
        corners = self._corners(best.edges, best.along, best.across) + rings.origins[rings.polygon[best.edges.ring]]
        fitted = np.full(len(rings), None, dtype=object)
        which, ring = np.unique(best.edges.ring, return_inverse=True)
        # A millionth of a pixel: coordinates that are whole pixels come out whole.
        fitted[which] = shapely.linearrings(np.round(corners, 6), indices=ring)
        shells = np.flatnonzero(rings.is_shell)
        ends = np.append(shells[1:], len(rings))
        good = np.isfinite(best.price) & (self._cost(best) <= self._cost_of_circles())
        result = np.full(self._count, None, dtype=object)
        result[good] = shapely.polygons(fitted[shells[good]])
        for k in np.flatnonzero(good & (ends - shells > 1)):
            holes = [hole for hole in fitted[shells[k] + 1 : ends[k]] if hole is not None]
            result[k] = shapely.Polygon(fitted[shells[k]], holes)
        return result

    def _best(self) -> _Fit:
        commonest, enclosing = self._commonest_direction(), self._direction_of_rectangle()
        best = self._fit(commonest)
        differ = _apart(commonest, enclosing, math.pi / 2) > SAME_DIRECTION
        best = self._cheaper(best, self._fit(enclosing, only=differ))
        # The first fit shows how noisy the mask is, and the direction of its edges better than anything before it.
        distances = self._sum(best.edges, self._distances(best.edges, best.along, best.across))
        noise = distances / np.maximum(self._sum(best.edges, best.edges.length), 1.0)
        self._scale = NOISE_LENGTH * np.maximum(noise, LEAST_NOISE**2)
        best = self._cheaper(best, self._fit(best.along))
        has_oblique = self._sum(best.edges, best.edges.kind == OBLIQUE) > 0
        best = self._cheaper(best, self._fit(best.along, oblique=False, only=has_oblique))
        along, across = self._separate_directions(best.edges)
        skew = _skew(along, across)
        return self._cheaper(best, self._fit(along, across, only=(skew > OBLIQUE_FROM) & (skew < MOST_SKEWED)))

    def _cheaper(self, one: _Fit, other: _Fit) -> _Fit:
        """Take the cheaper fit of each polygon, the first of equal ones."""
        better = self._cost(other) < self._cost(one)
        ours, theirs = (better[self._rings.polygon[fit.edges.ring]] for fit in (one, other))
        return _Fit(
            np.where(better, other.along, one.along),
            np.where(better, other.across, one.across),
            Edges.joined([one.edges[~ours], other.edges[theirs]]),
            np.where(better, other.price, one.price),
            np.where(better, other.residual, one.residual),
        )

    def _cost(self, fit: _Fit) -> np.ndarray:
        return np.round(fit.price + fit.residual / self._scale, 6)  # fits that are the same cost the same

    def _fit(
        self, along: np.ndarray, across: np.ndarray | None = None, *, oblique: bool = True, only: np.ndarray | None = None
    ) -> _Fit:
        """Fit edges about two directions (P,), at right angles unless both are given, and then turn these to fit best."""
        square = across is None
        across = along + math.pi / 2 if square else across
        parts = []
        for spans in self._spans:
            polygon = self._rings.polygon[spans.rings]
            if only is not None:
                spans, polygon = spans[only[polygon]], polygon[only[polygon]]
            if len(spans):
                parts.append(spans.partitioned(along[polygon], across[polygon], self._scale[polygon], oblique=oblique))
        edges = Edges.joined(parts)
        if square:
            # Edges of holes follow; a shell's are longer, and more of them.
            along = self._mean_angle(edges, np.choose(edges.kind, [1.0, -1.0, 0.0]) * self._rings.is_shell[edges.ring])
            across = along + math.pi / 2
        else:
            along, across = self._separate_directions(edges)
        price = self._sum(edges, np.take(PRICES, edges.kind)) + (0.0 if square else SKEW_PRICE)
        fitted = self._sum(edges, self._rings.is_shell[edges.ring]) > 0
        if not square:
            fitted &= _skew(along, across) > OBLIQUE_FROM
        off = ((self._corners(edges, along, across) - edges.start) ** 2).sum(axis=1)
        residual = self._sum(edges, self._distances(edges, along, across) + CORNER_LENGTH * off)
        return _Fit(along, across, edges, np.where(fitted, price, np.inf), residual)

    def _distances(self, edges: Edges, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Return the squared distance (E,) between edges and outline, integrated along it."""
        polygon, scatter = self._rings.polygon[edges.ring], edges.scatter
        regular = scatter.around_line(np.where(edges.kind == ALONG, along[polygon], across[polygon]))
        return np.where(edges.kind == OBLIQUE, scatter.around_best_line(), regular)

    def _separate_directions(self, edges: Edges) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions (P,) of edges along and across, each fitted by itself."""
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
        """Return the direction (P,) that most of each shell is about along or across, by squared lengths."""
        x, y = (self._turn_points[around(self._turn_ring)[1]] - self._turn_points).T
        section, length = x + 1j * y, np.hypot(x, y)
        weight = length**2 * self._rings.is_shell[self._turn_ring]
        quarters = np.angle(section) / (math.pi / 2) % 1  # directions repeat after a quarter turn
        group = self._rings.polygon[self._turn_ring] * _BINS + np.minimum((quarters * _BINS).astype(int), _BINS - 1)
        fourfold = (section / np.where(length > 0, length, 1)) ** 4 * weight
        sums = [np.bincount(group, part, minlength=self._count * _BINS) for part in (weight, fourfold.real, fourfold.imag)]
        sums = np.reshape(sums, (3, self._count, _BINS))
        weight, x, y = sums + np.roll(sums, 1, axis=2) + np.roll(sums, -1, axis=2)
        most = np.arange(self._count), weight.argmax(axis=1)
        return np.arctan2(y[most], x[most]) / 4

    def _direction_of_rectangle(self) -> np.ndarray:
        """Return the direction (P,) of the smallest rectangle that encloses each polygon (Freeman and Shapira 1975)."""
        rectangles = shapely.oriented_envelope(self._rings.rings[self._rings.is_shell])
        corners, polygon = shapely.get_coordinates(rectangles, return_index=True)
        first = first_of_each(polygon)
        x, y = (corners[first + 1] - corners[first]).T
        return np.arctan2(y, x)

    def _cost_of_circles(self) -> np.ndarray:
        """Return what each polygon (P,) costs as a circle: infinite where it has holes."""
        rings = self._rings
        moments = rings.moments()
        length, x, y, xx, _, yy = (np.bincount(rings.ring, each, minlength=len(rings)) for each in moments.T)
        at = rings.points - (np.stack([x, y], axis=-1) / length[:, None])[rings.ring]
        # Simpson's rule along each edge: too small a mean radius for long edges, so too high a cost, which is harmless.
        ends, middle = np.hypot(*at.T), np.hypot(*(at + rings.edges() / 2).T)
        radii = (ends + 4 * middle + ends[around(rings.ring)[1]]) / 6
        radius = np.bincount(rings.ring, radii * moments[:, 0], minlength=len(rings)) / length
        residual = xx + yy - (x * x + y * y) / length - length * radius**2
        has_holes = np.bincount(rings.polygon) > 1
        return np.where(has_holes, np.inf, ROUND_PRICE + residual[rings.is_shell] / self._scale)


def _skew(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return how far two directions are from right angles."""
    return _apart(across, along + math.pi / 2, math.pi)


def _apart(one: np.ndarray, other: np.ndarray, period: float) -> np.ndarray:
    """Return the angle between directions that repeat with a period."""
    return np.abs((one - other + period / 2) % period - period / 2)
