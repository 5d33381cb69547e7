"""The walls of many outlines at once: stretches of a ring that are each to become one straight edge.

Rings stand one after the other, and so do the walls of a ring, in the order of its outline; the one before the first is the
last. All arithmetic runs over the walls of all rings together, which is several times as fast as a loop over them in Python.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.detection.groups import around, first_of_each, first_with_most

LARGEST_TURN = 2.0
"""Pixels that the ends of a wall may move when it takes a main direction; a wall that would move further is oblique."""

SHORTEST_WALL = 3.0
"""Pixels. A shorter one is a step of the mask, not of the building."""

FARTHEST_CORNER = 4.0
"""Pixels between a corner and the place where the simplified outline turned; walls that meet further away hardly cross."""

ALONG_X, ALONG_Y, OBLIQUE = 0, 1, 2


@dataclass
class Walls:
    """Walls of rings; N of them.

    Attributes:
        ring: (N,) of which ring each is, in increasing order.
        axis: (N,) the main direction that it takes, ``ALONG_X`` or ``ALONG_Y``, or ``OBLIQUE``.
        moments: (N, 6) length, and integrals of x, y, xx, xy, yy over the outline that it stands for.
        start: (N, 2) where it begins on the simplified outline.
        end: (N, 2) where it ends there.
    """

    ring: np.ndarray
    axis: np.ndarray
    moments: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.ring)

    def __getitem__(self, which: np.ndarray) -> Walls:
        return Walls(self.ring[which], self.axis[which], self.moments[which], self.start[which], self.end[which])

    @classmethod
    def classified(cls, ring: np.ndarray, moments: np.ndarray, start: np.ndarray, end: np.ndarray) -> Walls:
        """Make walls, each along the main direction that its ends are nearest to, if they are near one."""
        along, across = np.abs(end - start).T
        axis = np.where(along >= across, ALONG_X, ALONG_Y)
        return cls(ring, np.where(np.minimum(along, across) > 2 * LARGEST_TURN, OBLIQUE, axis), moments, start, end)

    @property
    def length(self) -> np.ndarray:
        """(N,) of the outline that each stands for."""
        return self.moments[:, 0]

    @property
    def regular(self) -> np.ndarray:
        """(N,) whether each takes a main direction."""
        return self.axis != OBLIQUE

    def angles(self) -> np.ndarray:
        """Return the angle (N,) of the straight line that fits each wall's outline best."""
        _, x, y, xx, xy, yy = (self.moments / self.length[:, None]).T
        return 0.5 * np.arctan2(2 * (xy - x * y), (xx - x * x) - (yy - y * y))

    def lines(self) -> np.ndarray:
        """Return a, b, c (N, 3) of each wall's line a x + b y = c, with a unit normal."""
        x, y = (self.moments[:, 1:3] / self.length[:, None]).T
        angle = np.where(self.regular, 0.0, self.angles())
        a = np.where(self.axis == ALONG_Y, 1.0, -np.sin(angle))
        b = np.where(self.axis == ALONG_Y, 0.0, np.cos(angle))
        return np.stack([a, b, a * x + b * y], axis=-1)

    def merged(self) -> Walls:
        """Make one wall of neighbours along the same main direction."""
        if not len(self):
            return self
        before, _ = around(self.ring)
        goes_on = self.regular & (self.axis == self.axis[before])
        begins = ~goes_on
        begins[first_of_each(self.ring)] = True
        where = np.flatnonzero(begins)
        merged = self[where]
        merged.moments = np.add.reduceat(self.moments, where)
        merged.end = self.end[np.append(where[1:], len(self)) - 1]
        # a ring's first wall may go on with what its last one began
        first = first_of_each(merged.ring)
        last = around(merged.ring)[0][first]
        wraps = goes_on[where[first]] & (first != last)
        merged.moments[first[wraps]] += merged.moments[last[wraps]]
        merged.start[first[wraps]] = merged.start[last[wraps]]
        return merged[np.delete(np.arange(len(merged)), last[wraps])]

    def corners(self) -> np.ndarray:
        """Return where each wall meets the one before it (N, 2), or, where they hardly cross, the point between their ends."""
        before, _ = around(self.ring)
        turn = (self.end[before] + self.start) / 2
        lines = self.lines()
        (a, b, c), (d, e, f) = lines[before].T, lines.T
        determinant = a * e - b * d
        crosses = np.abs(determinant) > 1e-6
        crossing = np.stack([c * e - b * f, a * f - c * d], axis=-1) / np.where(crosses, determinant, 1)[:, None]
        reach = FARTHEST_CORNER + np.hypot(*(self.end[before] - self.start).T) / 2
        crosses &= np.hypot(*(crossing - turn).T) <= reach
        return np.where(crosses[:, None], crossing, turn)

    def signed_lengths(self, corners: np.ndarray) -> np.ndarray:
        """Return the length (N,) of each wall between its corners (N, 2), negative where it runs against the outline."""
        _, after = around(self.ring)
        steps = corners[after] - corners
        along = (steps * (self.end - self.start)).sum(axis=1)
        return np.copysign(np.hypot(*steps.T), along)


def corners_without_steps(walls: Walls) -> tuple[np.ndarray, np.ndarray]:
    """Take away walls too short to be real, the shortest of a ring first, and return the corners of those that stay.

    Args:
        walls: merged ones.

    Returns:
        Corners (K, 2) and the ring (K,) of each; rings of which fewer than three walls stay are left out.
    """
    corners, rings = [np.zeros((0, 2))], [walls.ring[:0]]
    while len(walls):
        first = first_of_each(walls.ring)
        count = np.diff(first, append=len(walls))
        found = walls.corners()
        length = walls.signed_lengths(found)
        shortest = first_with_most(walls.ring, -length)
        least = length[shortest]
        done = (least >= SHORTEST_WALL) | (count == 3) | ((count == 4) & (least > 0))
        final = np.repeat(done & (count >= 3), count)
        corners.append(found[final])
        rings.append(walls.ring[final])

        goes_on = ~done & (count >= 3)
        before, after = (neighbours[shortest[goes_on]] for neighbours in around(walls.ring))
        joined = (walls.axis[before] == walls.axis[after]) & walls.regular[before]
        before, after = before[joined], after[joined]
        walls.moments[before] += walls.moments[after]
        walls.end[before] = walls.end[after]
        stays = np.repeat(goes_on, count)
        stays[shortest] = False
        stays[after] = False
        walls = walls[stays]
    order = np.argsort(np.concatenate(rings), kind="stable")
    return np.concatenate(corners)[order], np.concatenate(rings)[order]


def turned(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn points (N, 2) by angles (N,), from x towards y."""
    c, s = np.cos(angle), np.sin(angle)
    x, y = points.T
    return np.stack([c * x - s * y, c * y + s * x], axis=-1)
