"""What the pipeline asks of whatever finds instances in a tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass
class Instances:
    """The instances found in one tile.

    Attributes:
        scores: (N,) float32 in 0..1.
        labels: (N,) int64, the class index.
        masks: (N, H, W) bool in the tile's pixels. A mask may have several parts, such as the legs of a U-shaped building
            whose bar lies in the next tile.
    """

    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


class Predictor(Protocol):
    """Anything that finds instances in tiles: a Mask DINO model, another network, a table of known answers.

    Attributes:
        tile_size: side of the square tiles that it takes, in pixels.
        gsd: ground sampling distance that it wants, in metres a pixel; None takes the raster's own.
        bands: how many bands a tile has.

    It may say more: ``device``, where it computes, ``batch_size``, how many tiles a call serve it best (1), ``calls_at_once``,
    how many threads may call it at the same time (1), ``classes``, the names of its classes by their labels (the one class
    ``building``), and ``identity``, what tells it from other predictors of its Python class.
    """

    tile_size: int
    gsd: float | None
    bands: int

    def predict(self, tiles: np.ndarray) -> list[Instances]:
        """Find the instances of each tile.

        Args:
            tiles: (B, bands, H, W) float32, values 0..255. B varies from call to call; H = W = tile_size.

        Returns:
            One ``Instances`` a tile, in the order of the tiles.
        """
        ...
