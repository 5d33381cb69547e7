"""Cut views out of images and outlines alike: one resampling, masks exact at the resolution of the crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from PIL import Image

from training.data.rasterize import rasterize_labels, rasterize_layers


@dataclass(frozen=True)
class View:
    """A square crop: where its centre lies in the image's pixels, how it is turned, and its own pixels.

    Attributes:
        x, y: the centre, in the image's pixels.
        size: side, in the crop's pixels.
        zoom: image pixels a crop pixel.
        angle: radians.
    """

    x: float
    y: float
    size: int
    zoom: float
    angle: float = 0.0

    @cached_property
    def matrix(self) -> np.ndarray:
        """(2, 3): from the crop's pixels to the image's."""
        cos, sin = self.zoom * np.cos(self.angle), self.zoom * np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        offset = np.array([self.x, self.y]) - turn @ np.array([self.size / 2, self.size / 2])
        return np.column_stack([turn, offset])

    @cached_property
    def corners(self) -> np.ndarray:
        """(4, 2): those of the crop, in the image's pixels."""
        corners = np.array([[0, 0], [self.size, 0], [self.size, self.size], [0, self.size]], dtype=float)
        return corners @ self.matrix[:, :2].T + self.matrix[:, 2]

    def outline(self) -> shapely.Polygon:
        """Return the crop's border in the image's pixels."""
        return shapely.Polygon(self.corners)


def cut_pixels(image: np.ndarray, view: View, *, fill: int = 0) -> np.ndarray:
    """Resample an image (H, W, 3) uint8 in a view: (size, size, 3) uint8, ``fill`` where there is no image."""
    matrix = view.matrix
    (low_x, low_y), (high_x, high_y) = view.corners.min(axis=0).tolist(), view.corners.max(axis=0).tolist()
    shrink = max(1, int(view.zoom + 0.3))  # averaged first, so that a coarser crop does not alias
    height, width = image.shape[:2]
    x0, y0 = max(0, int(low_x) - 2 * shrink), max(0, int(low_y) - 2 * shrink)
    x1, y1 = min(width, int(high_x) + 2 * shrink + 2), min(height, int(high_y) + 2 * shrink + 2)
    piece = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1]))
    if shrink > 1:
        piece = piece.reduce(shrink)
    turn = matrix[:, :2] / shrink
    offset = (matrix[:, 2] - (x0, y0)) / shrink
    coefficients = (turn[0, 0], turn[0, 1], offset[0], turn[1, 0], turn[1, 1], offset[1])
    crop = piece.transform(
        (view.size, view.size),
        Image.Transform.AFFINE,
        coefficients,
        resample=Image.Resampling.BILINEAR,
        fillcolor=(fill, fill, fill),
    )
    return np.array(crop)


def burn_labels(polygons: Sequence[shapely.Geometry], view: View) -> np.ndarray:
    """Burn outlines into a view by the pixel centre rule: (size, size) int32, numbered from one, later ones on top."""
    return rasterize_labels(_in_view(polygons, view), view.size, view.size)


def burn_layers(polygons: Sequence[shapely.Geometry], view: View) -> tuple[np.ndarray, np.ndarray]:
    """Burn outlines that may overlap into as few label maps as they need.

    Returns:
        (L, size, size) int32, numbered from one in the order of the outlines that cover a pixel centre of the view, and (K,)
        int64, which these are.
    """
    return rasterize_layers(_in_view(polygons, view), view.size, view.size)


def _in_view(polygons: Sequence[shapely.Geometry], view: View) -> np.ndarray:
    turn, offset = view.matrix[:, :2] / view.zoom**2, view.matrix[:, 2]  # the transposed inverse of a turn that magnifies
    return shapely.transform(np.asarray(polygons, dtype=object), lambda points: (points - offset) @ turn)
