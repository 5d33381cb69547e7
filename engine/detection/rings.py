"""The rings of many polygons at once, and the stretches of them that are to become walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from engine.detection.groups import around, first_of_each
from engine.detection.walls import Walls, turned


@dataclass
class Rings:
    """The rings of polygons, a polygon's shell before its holes, without the point that closes each.

    Attributes:
        rings: (R,) as geometries.
        polygon: (R,) of which polygon each is.
        points: (N, 2) relative to the polygon's origin, those of a ring one after the other.
        ring: (N,) on which ring each point is.
    """

    rings: np.ndarray
    polygon: np.ndarray
    points: np.ndarray
    ring: np.ndarray

    @classmethod
    def of(cls, polygons: np.ndarray, origins: np.ndarray) -> Rings:
        """Take polygons (P,) apart; near their origins (P, 2) numbers are small and keep their digits."""
        rings, polygon = shapely.get_rings(polygons, return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        kept = np.diff(ring, append=-1) == 0
        points, ring = points[kept], ring[kept]
        return cls(rings, polygon, points - origins[polygon[ring]], ring)

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

    def are_on(self, other: Rings) -> np.ndarray:
        """Say which points (N,) are points of the same rings elsewhere."""
        ours, theirs = (each.points @ np.array([1, 1j]) + each.ring * 2.0**24 for each in (self, other))  # none is so wide
        return np.isin(ours, theirs)


@dataclass
class Stretches:
    """The outline between each two of the vertices that a simplified view has left.

    Attributes:
        ring: (N,) of which ring each is.
        moments: (N, 6) length, and integrals of x, y, xx, xy, yy along it.
        start: (N, 2).
        end: (N, 2).
    """

    ring: np.ndarray
    moments: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @classmethod
    def between(cls, vertices: np.ndarray, rings: Rings) -> Stretches:
        """Cut rings at some of their points, given as (N,) bool; each ring at one at least."""
        steps = rings.edges()
        length = np.hypot(*steps.T)
        x, y = (rings.points + steps / 2).T
        # Integrals over straight edges, exactly: those at the middle, and l^2/12 around it for the second moments.
        dx, dy = steps.T / 12**0.5
        moments = length * np.stack([np.ones_like(x), x, y, x * x + dx * dx, x * y + dx * dy, y * y + dy * dy])
        begins = vertices.copy()
        begins[first_of_each(rings.ring)] = True
        begins = np.flatnonzero(begins)
        moments, ring, whole = np.add.reduceat(moments, begins, axis=1).T, rings.ring[begins], vertices[begins]
        # what lies before a ring's first vertex belongs to the stretch that its last one begins
        first = first_of_each(ring)
        last = around(ring)[0][first]
        early = ~whole[first]
        moments[last[early]] += moments[first[early]]
        ring, start = ring[whole], rings.points[begins[whole]]
        return cls(ring, moments[whole], start, start[around(ring)[1]])

    def walls(self, angle: np.ndarray) -> Walls:
        """Make walls, turned so that the main direction, at an ``angle`` (N,) from x, becomes x."""
        c, s = np.cos(angle), np.sin(angle)
        length, x, y, xx, xy, yy = self.moments.T
        moments = [
            length,
            c * x + s * y,
            c * y - s * x,
            c * c * xx + 2 * c * s * xy + s * s * yy,
            (c * c - s * s) * xy + c * s * (yy - xx),
            s * s * xx - 2 * c * s * xy + c * c * yy,
        ]
        return Walls.classified(self.ring, np.stack(moments, axis=-1), turned(self.start, -angle), turned(self.end, -angle))
