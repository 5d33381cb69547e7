"""Convex quadrilaterals: (4, 2) arrays of corners in order; side 0 runs from corner 0 to corner 1."""

from __future__ import annotations

import math

import numpy as np

UNIT_SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def bilinear(quad: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (K, 2) of the unit square into a quadrilateral; lines of constant u or v stay straight."""
    u, v = points[:, :1], points[:, 1:]
    a, b, c, d = quad
    return (1 - u) * (1 - v) * a + u * (1 - v) * b + u * v * c + (1 - u) * v * d


def side_lengths(quad: np.ndarray) -> np.ndarray:
    """Return the mean lengths (2,) of the two pairs of opposite sides, that of side 0 first."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad.tolist()  # four points are too few for arrays to pay
    along = math.hypot(bx - ax, by - ay) + math.hypot(cx - dx, cy - dy)
    across = math.hypot(cx - bx, cy - by) + math.hypot(dx - ax, dy - ay)
    return np.array([0.5 * along, 0.5 * across])


def inward_normals(quad: np.ndarray) -> np.ndarray:
    """Return the normals (4, 2) of the sides, pointing inside, each as long as its side."""
    edges = quad[[1, 2, 3, 0]] - quad
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
    clockwise_on_screen = edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] > 0
    return normals if clockwise_on_screen else -normals
