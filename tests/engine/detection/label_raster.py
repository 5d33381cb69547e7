"""Known buildings as a GeoTIFF whose colours are their numbers, and the predictor that reads them back out of its tiles.

What the pipeline does between this file and the layer it writes can then be held against the truth, pixel by pixel.
"""

from __future__ import annotations

import time
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.features import shapes
from rasterio.transform import from_origin
from shapely.geometry import Polygon, shape
from shapely.geometry.base import BaseGeometry

from engine.detection import Instances

UTM = "EPSG:32633"
TRANSFORM = from_origin(500_000, 5_000_000, 0.5, 0.5)


def write_label_raster(path: Path, labels: np.ndarray, *, crs: str | None = UTM, transform: Affine = TRANSFORM) -> Path:
    """Write (H, W) labels as RGB: red counts ones, green 256s, blue 65536s."""
    bands = np.stack([labels & 255, labels >> 8 & 255, labels >> 16]).astype(np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=labels.shape[1], height=labels.shape[0], count=3, dtype="uint8", crs=crs,
        transform=transform, photometric="RGB", compress="deflate",
    ) as raster:  # fmt: skip
        raster.write(bands)
    return path


class LabelPredictor:
    """Read the instances of a tile out of its colours; score and class depend on the building's number alone."""

    bands = 3
    gsd = None

    def __init__(
        self,
        tile_size: int = 64,
        *,
        seconds: float = 0.0,
        identity: str = "labels",
        classes: tuple[str, ...] = ("building",),
    ) -> None:
        self.tile_size = tile_size
        self.classes = classes
        self.identity = identity
        self.batches: list[int] = []
        self._seconds = seconds

    def predict(self, tiles: np.ndarray) -> list[Instances]:
        assert tiles.shape[1:] == (3, self.tile_size, self.tile_size)
        assert tiles.dtype == np.float32
        self.batches.append(len(tiles))
        time.sleep(self._seconds * len(tiles))
        return [self._instances(tile.astype(np.int64)) for tile in tiles]

    def _instances(self, tile: np.ndarray) -> Instances:
        labels = tile[0] + 256 * tile[1] + 65536 * tile[2]
        numbers = np.unique(labels[labels > 0])
        return Instances(scores=score_of(numbers), labels=numbers % len(self.classes), masks=labels == numbers[:, None, None])


def score_of(numbers: np.ndarray) -> np.ndarray:
    """Give each building a score of its own, above a half."""
    return (0.5 + (numbers % 499 + 1) / 1000).astype(np.float32)


def known_polygons(labels: np.ndarray, transform: Affine = TRANSFORM) -> list[tuple[Polygon, float]]:
    """Return the polygons of all 4-connected parts in map coordinates, with their scores."""
    return [(polygon, float(score_of(np.array(number)))) for polygon, number in numbered_polygons(labels, transform)]


def numbered_polygons(labels: np.ndarray, transform: Affine = TRANSFORM) -> list[tuple[Polygon, int]]:
    """Return the polygons of all 4-connected parts in map coordinates, with their numbers."""
    found = shapes(labels.astype(np.int32), labels > 0, connectivity=4, transform=transform)
    return [(shape(geometry), int(number)) for geometry, number in found]


def rows_of(path: Path) -> set[tuple[bytes, float]]:
    """Return the rows of a layer as a set that compares by value: geometries as WKB, and scores."""
    layer = geopandas.read_file(path)
    return {(_wkb(geometry), round(float(score), 6)) for geometry, score in zip(layer.geometry, layer["score"], strict=True)}


def truth_of(labels: np.ndarray, transform: Affine = TRANSFORM) -> set[tuple[bytes, float]]:
    """Return the rows that a layer of these labels has where nothing went wrong."""
    return {(_wkb(polygon), round(score, 6)) for polygon, score in known_polygons(labels, transform)}


def _wkb(geometry: BaseGeometry) -> bytes:
    return shapely.to_wkb(shapely.normalize(geometry))
