"""What the pipeline asks of whatever finds instances in a tile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.tiles.predictor import TilePredictor


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


class Predictor(TilePredictor, ABC):
    """Anything that finds instances in tiles: a Mask DINO model, another network, a table of known answers.

    A class with these three attributes and ``predict`` can stand in without being a subclass; it may have the others of
    `engine.tiles.predictor.TilePredictor` too, which otherwise are those of that class.

    Attributes:
        tile_size: side of the square tiles that it takes, in pixels.
        gsd: ground sampling distance that it wants, in metres per pixel; None takes the raster's own.
        bands: how many bands a tile has.
    """

    tile_size: int
    gsd: float | None
    bands: int

    @abstractmethod
    def predict(self, tiles: np.ndarray) -> list[Instances]:
        """Find the instances of each tile.

        Args:
            tiles: (B, bands, H, W) float32, values 0..255. B varies from call to call; H = W = tile_size.

        Returns:
            One ``Instances`` a tile, in the order of the tiles.
        """


def as_predictor(given: Any) -> Predictor:
    """Return a predictor as it is; one that is no subclass gets the attributes that it lacks."""
    return given if isinstance(given, Predictor) else _StandIn(given)


class _StandIn(Predictor):
    """A predictor that does not derive from the class, with the class's defaults."""

    def __init__(self, given: Any) -> None:
        self._given = given
        self.take_attributes(given)

    def predict(self, tiles: np.ndarray) -> list[Instances]:
        return self._given.predict(tiles)
