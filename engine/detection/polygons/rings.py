"""The rings of many polygons at once, and the scatter of their outlines around straight lines.

The scatter of a section of an outline is the integral of the squared distance from its centre, as a matrix. It is held as its
trace and as a vector that turns twice as fast as the outline does: ``lean = (Sxx - Syy, 2 Sxy)``. The squared distance from
the line through the centre at an angle t is then ``(trace - lean . (cos 2t, sin 2t)) / 2``, and least at half the angle of
``lean``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely


@dataclass
class Rings:
    """The rings of polygons, a polygon's shell before its holes, without the point that closes each.

    Attributes:
        rings: (R,) as geometries, relative to their polygon's origin.
        polygon: (R,) the polygon that each belongs to.
        points: (N, 2) relative to the same, those of a ring one after the other.
        ring: (N,) the ring that each point is on.
        origins: (P, 2) of the polygons: the lower corners of their bounds. Near them numbers are small and keep their digits.
    """

    rings: np.ndarray
    polygon: np.ndarray
    points: np.ndarray
    ring: np.ndarray
    origins: np.ndarray

    @classmethod
    def of(cls, polygons: np.ndarray, origins: np.ndarray | None = None) -> Rings:
        """Take polygons (P,) apart, and count from origins (P, 2) of their own unless others are given."""
        origins = shapely.bounds(polygons)[:, :2] if origins is None else origins
        rings, polygon = shapely.get_rings(polygons, return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        points = points - origins[polygon[ring]]
        rings = shapely.linearrings(points, indices=ring) if len(ring) else rings
        kept = np.diff(ring, append=-1) == 0
        return cls(rings, polygon, points[kept], ring[kept], origins)

    def __len__(self) -> int:
        return len(self.rings)

    @property
    def is_shell(self) -> np.ndarray:
        """(R,) whether each is its polygon's shell."""
        return np.diff(self.polygon, prepend=-1) != 0

    def edges(self) -> np.ndarray:
        """Return the steps (N, 2) from each point to the one after it."""
        _, after = around(self.ring)
        return self.points[after] - self.points

    def turns(self, tolerance: float) -> np.ndarray:
        """Return which points (N,) stay when each ring is simplified by itself (Douglas and Peucker 1973)."""
        points, ring = shapely.get_coordinates(
            shapely.simplify(self.rings, tolerance, preserve_topology=False), return_index=True
        )
        # One complex number for each point; no outline is 2^24 wide.
        all_points, stay = (p[:, 0] + 2.0**24 * of + 1j * p[:, 1] for p, of in ((self.points, self.ring), (points, ring)))
        return np.isin(all_points, stay)

    def moments(self) -> np.ndarray:
        """Return length, and integrals of x, y, xx, xy and yy, along the edge after each point: (N, 6)."""
        steps = self.edges()
        length = np.hypot(*steps.T)
        x, y = (self.points + steps / 2).T
        # Exact: the values in the middle of an edge, and l^2/12 around it for the second moments.
        dx, dy = steps.T / 12**0.5
        return (length * np.stack([np.ones_like(x), x, y, x * x + dx * dx, x * y + dx * dy, y * y + dy * dy])).T

    def moments_between(self, breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut the rings at some of their points, (N,) bool, at least one on each.

        Returns:
            Of each section, in order: its ring (S,), the point where it begins (S, 2), its moments (S, 6).
        """
        begins = breaks.copy()
        begins[first_of_each(self.ring)] = True
        begins = np.flatnonzero(begins)
        ring, real = self.ring[begins], breaks[begins]
        moments = np.add.reduceat(self.moments(), begins)
        # what lies before a ring's first break belongs to the section that its last one begins
        first = first_of_each(ring)
        last = around(ring)[0][first]
        early = ~real[first]
        moments[last[early]] += moments[first[early]]
        return ring[real], self.points[begins[real]], moments[real]


@dataclass
class Scatter:
    """The scatter of sections of an outline, arrays of one shape; see above.

    Attributes:
        trace: of the matrix.
        lean: (2, ...).
    """

    trace: np.ndarray
    lean: np.ndarray

    @classmethod
    def of(cls, moments: np.ndarray) -> Scatter:
        """Work it out from moments (6, ...)."""
        length, x, y, xx, xy, yy = moments
        mean_x, mean_y = x / length, y / length
        xx, xy, yy = xx - x * mean_x, xy - x * mean_y, yy - y * mean_y
        return cls(xx + yy, np.stack([xx - yy, 2 * xy]))

    def around_line(self, angle: np.ndarray) -> np.ndarray:
        """Integrate the squared distance from the line through each centre at an angle."""
        return (self.trace - self.lean[0] * np.cos(2 * angle) - self.lean[1] * np.sin(2 * angle)) / 2

    def around_best_line(self) -> np.ndarray:
        """Integrate the squared distance from the line through each centre that is nearest."""
        return (self.trace - np.hypot(*self.lean)) / 2

    def best_angles(self) -> np.ndarray:
        """Return the angle of that line, -pi/2 to pi/2."""
        return np.arctan2(self.lean[1], self.lean[0]) / 2


def first_of_each(group: np.ndarray) -> np.ndarray:
    """Return the position of the first member of each group that has any: (N,) in increasing order -> (G,)."""
    return np.flatnonzero(np.diff(group, prepend=-1))


def around(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the members before and after each, the first one coming after the last: (N,) -> (N,), (N,)."""
    first, last = first_of_each(group), np.flatnonzero(np.diff(group, append=-1))
    before, after = np.arange(len(group)) - 1, np.arange(len(group)) + 1
    before[first], after[last] = last, first
    return before, after
