"""A stretch of imagery in memory with its footprints, from which crops of any size, resolution and turn are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import rasterio.features
import shapely
from PIL import Image

from training.data.sample import Sample, masks_of_labels


@dataclass(frozen=True)
class View:
    """A square crop: where its centre lies in the scene's pixels, how it is turned, and its own pixels.

    Attributes:
        x, y: the centre, in the scene's pixels.
        size: side, in the crop's pixels.
        zoom: scene pixels a crop pixel.
        angle: radians.
    """

    x: float
    y: float
    size: int
    zoom: float
    angle: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3): from the crop's pixels to the scene's."""
        cos, sin = self.zoom * np.cos(self.angle), self.zoom * np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        offset = np.array([self.x, self.y]) - turn @ np.array([self.size / 2, self.size / 2])
        return np.column_stack([turn, offset])

    def outline(self) -> shapely.Polygon:
        """Return the crop's border in the scene's pixels."""
        corners = np.array([[0, 0], [self.size, 0], [self.size, self.size], [0, self.size]], dtype=float)
        return shapely.Polygon(corners @ self.matrix[:, :2].T + self.matrix[:, 2])


@dataclass(eq=False)
class Scene:
    """Imagery, footprints, and the area in which the footprints are complete.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        footprints: polygons in pixels, column and row. Where two overlap, the later one wins in crops.
        gsd: metres a pixel.
        area: polygon in pixels within which crops may lie; None takes the whole image.
        name: for messages and reports.
    """

    image: np.ndarray
    footprints: np.ndarray
    gsd: float
    area: shapely.Geometry | None = None
    name: str = ""
    _tree: shapely.STRtree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        self.footprints = np.asarray(self.footprints, dtype=object)
        self.area = shapely.box(0, 0, width, height) if self.area is None else self.area
        shapely.prepare(self.area)
        self._tree = shapely.STRtree(self.footprints)

    def draw_view(self, rng: np.random.Generator, *, size: int, gsd: float, turned: bool = True, attempts: int = 12) -> View:
        """Draw a view within the area.

        Where no drawn view fits, the last one is taken upright and, if it must be, finer until it does; an area too small
        for that is looked at whole.
        """
        zoom = gsd / self.gsd
        low_x, low_y, high_x, high_y = self.area.bounds
        for attempt in range(attempts):
            angle = rng.uniform(0, 2 * np.pi) if turned and attempt < attempts // 2 else 0.0
            half = 0.5 * size * zoom * (abs(np.cos(angle)) + abs(np.sin(angle)))
            if 2 * half > min(high_x - low_x, high_y - low_y) + 1e-6:
                continue
            x, y = rng.uniform(low_x + half, high_x - half), rng.uniform(low_y + half, high_y - half)
            view = View(x, y, size, zoom, angle)
            if self.area.contains(view.outline().buffer(-0.01 * zoom)):
                return view
        span = min(high_x - low_x, high_y - low_y)
        zoom = min(zoom, span / size)
        half = 0.5 * size * zoom
        return View(rng.uniform(low_x + half, high_x - half), rng.uniform(low_y + half, high_y - half), size, zoom)

    def crop(self, view: View, *, smallest: int = 1) -> Sample:
        """Cut a view out, black outside the image; instances of fewer than ``smallest`` pixels are dropped."""
        return Sample(self._pixels(view), masks_of_labels(self.labels(view), smallest=smallest), self.name)

    def labels(self, view: View) -> np.ndarray:
        """Return the footprints in a view as (size, size) int32, numbered from one, by the pixel centre rule."""
        found = np.sort(self._tree.query(view.outline(), predicate="intersects"))
        return self._burn(self.footprints[found], view)

    def _burn(self, polygons: Sequence[shapely.Geometry], view: View) -> np.ndarray:
        labels = np.zeros((view.size, view.size), dtype=np.int32)
        if len(polygons):
            inverse = np.linalg.inv(view.matrix[:, :2])
            offset = view.matrix[:, 2]
            local = shapely.transform(np.asarray(polygons, dtype=object), lambda points: (points - offset) @ inverse.T)
            rasterio.features.rasterize([(polygon, n) for n, polygon in enumerate(local, start=1)], out=labels)
        return labels

    def windows(self, *, size: int, gsd: float, smallest: int = 1) -> Iterator[Sample]:
        """Cut the area into upright crops without overlap, black outside the area.

        As many crops as nearly fit are laid over the middle of the area, so what is cut off at its border is less than half
        a crop, and an area smaller than a crop still gives one.
        """
        zoom = gsd / self.gsd
        low, high = np.reshape(self.area.bounds, (2, 2))
        side = size * zoom
        counts = np.maximum(1, np.round((high - low) / side)).astype(int)
        start = (low + high - counts * side) / 2
        for row, column in np.ndindex(counts[1], counts[0]):
            centre = start + (np.array([column, row]) + 0.5) * side
            view = View(centre[0], centre[1], size, zoom)
            inside = self._burn([self.area], view) > 0
            if inside.mean() > 0.25:
                labels = np.where(inside, self.labels(view), 0)
                image = self._pixels(view) * inside[..., None]
                yield Sample(image, masks_of_labels(labels, smallest=smallest), f"{self.name} {row},{column}")

    def _pixels(self, view: View) -> np.ndarray:
        matrix = view.matrix
        low_x, low_y, high_x, high_y = view.outline().bounds
        shrink = max(1, int(view.zoom + 0.3))  # averaged first, so that a coarser crop does not alias
        height, width = self.image.shape[:2]
        x0, y0 = max(0, int(low_x) - 2 * shrink), max(0, int(low_y) - 2 * shrink)
        x1, y1 = min(width, int(high_x) + 2 * shrink + 2), min(height, int(high_y) + 2 * shrink + 2)
        piece = Image.fromarray(np.ascontiguousarray(self.image[y0:y1, x0:x1]))
        if shrink > 1:
            piece = piece.reduce(shrink)
        turn = matrix[:, :2] / shrink
        offset = (matrix[:, 2] - (x0, y0)) / shrink
        coefficients = (turn[0, 0], turn[0, 1], offset[0], turn[1, 0], turn[1, 1], offset[1])
        crop = piece.transform((view.size, view.size), Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR)
        return np.asarray(crop)
