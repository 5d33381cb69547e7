"""Class rasters whose truth is known: pixels in the colours of their classes, and the predictor that reads them back."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import rasterio

from tests.engine.raster.raster_files import write_raster

NAMES = ("road", "building", "tree", "water")
COLOURS = np.array([[90, 90, 90], [200, 60, 50], [40, 140, 40], [40, 70, 220]], np.uint8)


def landscape(seed: int, height: int, width: int, *, patch: int = 7) -> np.ndarray:
    """Return (height, width) uint8 classes: patches with crooked borders."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, len(NAMES), (height // patch + 3, width // patch + 3))
    rows, cols = np.indices((height, width))
    shift = rng.integers(0, 2, (2, height, width))
    return coarse[(rows + shift[0]) // patch, (cols + shift[1]) // patch].astype(np.uint8)


def write_landscape(path: Path, classes: np.ndarray, **options) -> Path:
    """Write classes in their colours; options are those of `write_raster`."""
    return write_raster(path, np.moveaxis(COLOURS[classes], -1, 0), photometric="RGB", **options)


def values_of(path: Path) -> np.ndarray:
    """Read the (H, W) values of a class raster."""
    with rasterio.open(path) as dataset:
        return dataset.read(1)


class ColourScores:
    """Score classes by how near their colour is to a pixel's: the same for a pixel wherever in a tile it lies.

    Attributes:
        batches: how many tiles were seen at a time.
    """

    bands, classes = 3, NAMES

    def __init__(
        self, tile_size: int = 64, *, gsd: float | None = None, seconds: float = 0.0, identity: str = "colours"
    ) -> None:
        self.tile_size, self.gsd, self.identity = tile_size, gsd, identity
        self.batches: list[int] = []
        self._seconds = seconds

    def scores(self, tiles: np.ndarray) -> list[np.ndarray]:
        assert tiles.shape[1:] == (3, self.tile_size, self.tile_size) and tiles.dtype == np.float32
        self.batches.append(len(tiles))
        time.sleep(self._seconds * len(tiles))
        return [self._scores(tile) for tile in tiles]

    def _scores(self, tile: np.ndarray) -> np.ndarray:
        off = np.square(tile - COLOURS[:, :, None, None].astype(np.float32)).sum(axis=1)
        return np.exp(-off / 5000)


class EachTileItsOwn(ColourScores):
    """Score classes the same all over a tile, and otherwise in the next: what tiles disagree on is then known."""

    def _scores(self, tile: np.ndarray) -> np.ndarray:
        scores = np.random.default_rng(int(tile.sum())).random((len(NAMES), 1, 1)).astype(np.float32)
        return np.broadcast_to(scores, (len(NAMES), self.tile_size, self.tile_size))
