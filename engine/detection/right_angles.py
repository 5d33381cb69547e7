"""Straighten the outline of one building: walls along its own two main directions, oblique ones kept where they are real.

The outline of a mask is a chain of pixel edges. A simplified outline tells where its walls begin and end; each wall is then
fitted to *all* the pixel edges between, which places it to a fraction of a pixel, where the simplified outline itself goes
through corners of pixels. Walls that bend less than two pixels away from a main direction take that direction. Corners are
where neighbouring walls meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

LARGEST_TURN = 2.0
"""Pixels that the ends of a wall may move when it takes a main direction; a wall that would move further is oblique."""

SHORTEST_WALL = 3.0
"""Pixels. A shorter one is a step of the mask, not of the building."""

FARTHEST_CORNER = 4.0
"""Pixels between a corner and the place where the simplified outline turned; walls that meet further away hardly cross."""

LEAST_REGULAR = 0.5
"""Share of an outline along the main directions; with less of it, it is round or has no main direction."""

AGREEMENT = math.radians(8)
"""Angle within which edges speak for the same main direction: a pixel in seven, as far as a short wall's edge may be off."""

Axis = Literal[0, 1, 2]
ALONG_X: Axis = 0
ALONG_Y: Axis = 1
OBLIQUE: Axis = 2

Point = tuple[float, float]


@dataclass
class Wall:
    """A stretch of outline that is to become one straight edge.

    Attributes:
        axis: the main direction that it takes, or ``OBLIQUE``.
        moments: length, and integrals of x, y, xx, xy, yy over it.
        start: where it begins on the simplified outline.
        end: where it ends there.
    """

    axis: Axis
    moments: np.ndarray
    start: Point
    end: Point

    def line(self) -> tuple[float, float, float]:
        """Return (a, b, c) of the line a x + b y = c, with a unit normal."""
        length, x, y, xx, xy, yy = self.moments.tolist()
        x, y = x / length, y / length
        if self.axis == ALONG_X:
            return 0.0, 1.0, y
        if self.axis == ALONG_Y:
            return 1.0, 0.0, x
        angle = 0.5 * math.atan2(2 * (xy / length - x * y), (xx / length - x * x) - (yy / length - y * y))
        a, b = -math.sin(angle), math.cos(angle)
        return a, b, a * x + b * y

    def joined(self, other: Wall) -> Wall:
        """Return one wall of this and a later one."""
        return Wall(self.axis, self.moments + other.moments, self.start, other.end)


def main_direction(rings: list[np.ndarray]) -> float:
    """Return the angle, in radians between -pi/4 and pi/4, of the direction that most of the outline is along or across.

    Around the edge that most others agree with, the mean of the edges' directions on a circle of 90 degrees. A mean of all
    would lie between the wings of a building with an oblique one. Long edges weigh more than in proportion: the direction of
    an edge is as uncertain as it is short.

    Args:
        rings: (N, 2) closed rings of a simplified outline.
    """
    edges = np.concatenate([np.diff(ring, axis=0) for ring in rings]) @ np.array([1, 1j])
    lengths = np.abs(edges)
    directions = (edges / lengths) ** 4  # turn once in 90 degrees
    weights = lengths**2
    apart = np.angle(directions[:, None] * directions.conj()) / 4
    agreement = np.exp(-((apart / AGREEMENT) ** 2)) * weights
    centre = np.argmax(agreement.sum(axis=1))
    total = (agreement[centre] * directions).sum()
    return math.atan2(total.imag, total.real) / 4


def squared_ring(pixels: np.ndarray, simple: np.ndarray, angle: float) -> tuple[np.ndarray, float] | None:
    """Square one ring.

    Args:
        pixels: (N, 2) the closed ring along pixel edges.
        simple: (M, 2) the same ring simplified to some of its vertices, in the same order.
        angle: of the main direction.

    Returns:
        The (K, 2) closed ring, and the angle by which its walls say that the main direction is off; None where too little of
        the outline is along the main directions.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    walls = _walls(pixels @ turn, _positions(pixels, simple))
    regular = sum(wall.moments[0] for wall in walls if wall.axis != OBLIQUE)
    if regular < LEAST_REGULAR * sum(wall.moments[0] for wall in walls):
        return None
    error = _mean_error(walls)
    corners = _without_steps(_merged(walls))
    if corners is None:
        return None
    # A millionth of a pixel: sums of whole pixels along the rows come out whole.
    ring = np.round(np.array([*corners, corners[0]]) @ turn.T, 6)
    return ring, error


def _positions(pixels: np.ndarray, simple: np.ndarray) -> list[int]:
    """Return where on the ring of pixels the simplified ring has its vertices, in increasing order."""
    where = {point: index for index, point in enumerate(map(tuple, pixels[:-1].tolist()))}
    return sorted({where[point] for point in map(tuple, simple[:-1].tolist())})


def _walls(points: np.ndarray, positions: list[int]) -> list[Wall]:
    """Make a wall of each edge of the simplified outline, from the pixel edges that it stands for."""
    steps = np.diff(points, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    middle = points[:-1] + steps / 2
    x, y = middle[:, 0], middle[:, 1]
    # Integrals over straight edges, exactly: those at the middle, and l^2/12 around it for the second moments.
    dx, dy = steps[:, 0] / 12**0.5, steps[:, 1] / 12**0.5
    moments = lengths * np.stack([np.ones_like(x), x, y, x * x + dx * dx, x * y + dx * dy, y * y + dy * dy])
    sums = np.concatenate([np.zeros((6, 1)), np.cumsum(moments, axis=1)], axis=1)
    vertices = points.tolist()
    walls = []
    for begin, end in zip(positions, positions[1:] + positions[:1], strict=True):
        part = sums[:, end] - sums[:, begin]
        if end <= begin:
            part = part + sums[:, -1]
        start, stop = tuple(vertices[begin]), tuple(vertices[end])
        across, along = abs(stop[1] - start[1]), abs(stop[0] - start[0])
        axis = ALONG_X if along >= across else ALONG_Y
        if min(across, along) > 2 * LARGEST_TURN:
            axis = OBLIQUE
        walls.append(Wall(axis, part, start, stop))
    return walls


def _mean_error(walls: list[Wall]) -> float:
    """Return the mean angle between the walls along main directions and those directions, as their pixels tell."""
    total = 0j
    for wall in walls:
        if wall.axis != OBLIQUE and wall.moments[0] >= 2 * SHORTEST_WALL:
            a, b, _ = Wall(OBLIQUE, wall.moments, wall.start, wall.end).line()
            total += complex(b, -a) ** 4 * wall.moments[0] ** 3
    return math.atan2(total.imag, total.real) / 4


def _merged(walls: list[Wall]) -> list[Wall]:
    """Make one wall of neighbours along the same main direction."""
    merged: list[Wall] = []
    for wall in walls:
        if merged and wall.axis != OBLIQUE and merged[-1].axis == wall.axis:
            merged[-1] = merged[-1].joined(wall)
        else:
            merged.append(wall)
    if len(merged) > 1 and merged[0].axis != OBLIQUE and merged[0].axis == merged[-1].axis:
        merged[0] = merged.pop().joined(merged[0])
    return merged


def _without_steps(walls: list[Wall]) -> list[Point] | None:
    """Take away walls too short to be real, the shortest first, and return the corners of those that stay."""
    while len(walls) >= 3:
        corners = [_corner(walls[k - 1], walls[k]) for k in range(len(walls))]
        shortest, least = -1, SHORTEST_WALL
        for k, wall in enumerate(walls):
            length = _signed_length(corners[k], corners[(k + 1) % len(walls)], wall)
            if length < least:
                shortest, least = k, length
        if shortest < 0 or len(walls) == 3 or (len(walls) == 4 and least > 0):
            return corners
        before, after = walls[shortest - 1], walls[(shortest + 1) % len(walls)]
        if before.axis == after.axis != OBLIQUE:
            rest = [walls[(shortest + 2 + k) % len(walls)] for k in range(len(walls) - 3)]
            walls = _merged([before.joined(after), *rest])
        else:
            walls = _merged(walls[:shortest] + walls[shortest + 1 :])
    return None


def _corner(before: Wall, after: Wall) -> Point:
    """Return where two walls meet, or, where they hardly cross, the point between their ends."""
    turn = (before.end[0] + after.start[0]) / 2, (before.end[1] + after.start[1]) / 2
    a, b, c = before.line()
    d, e, f = after.line()
    determinant = a * e - b * d
    if abs(determinant) > 1e-6:
        x, y = (c * e - b * f) / determinant, (a * f - c * d) / determinant
        reach = FARTHEST_CORNER + math.hypot(before.end[0] - after.start[0], before.end[1] - after.start[1]) / 2
        if math.hypot(x - turn[0], y - turn[1]) <= reach:
            return x, y
    return turn


def _signed_length(start: Point, end: Point, wall: Wall) -> float:
    """Return the length between two corners, negative where it runs against the outline."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = dx * (wall.end[0] - wall.start[0]) + dy * (wall.end[1] - wall.start[1])
    return math.copysign(math.hypot(dx, dy), along)
