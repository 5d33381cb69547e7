"""What the pipeline asks of whatever finds instances in a tile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from engine.detection.classes import BUILDING


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


class Predictor(ABC):
    """Anything that finds instances in tiles: a Mask DINO model, another network, a table of known answers.

    A class with these three attributes and ``predict`` can stand in without being a subclass; it may have the others too, which
    otherwise are those of this class.

    Attributes:
        tile_size: side of the square tiles that it takes, in pixels.
        gsd: ground sampling distance that it wants, in metres per pixel; None takes the raster's own.
        bands: how many bands a tile has.
        classes: names of the classes that it tells apart, by their labels.
        device: where it computes.
        batch_size: how many tiles per call serve it best.
        calls_at_once: how many threads may call it at the same time.
    """

    tile_size: int
    gsd: float | None
    bands: int
    classes = BUILDING
    device = "cpu"
    batch_size = 1
    calls_at_once = 1

    @cached_property
    def identity(self) -> str:
        """What tells it from others: a run is resumed with a predictor of the same identity alone."""
        return _class_name(self)

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
        self.identity = _class_name(given)
        for name in ("tile_size", "gsd", "bands", "classes", "device", "batch_size", "calls_at_once", "identity"):
            if hasattr(given, name):
                setattr(self, name, getattr(given, name))

    def predict(self, tiles: np.ndarray) -> list[Instances]:
        return self._given.predict(tiles)


def _class_name(predictor: object) -> str:
    return f"{type(predictor).__module__}.{type(predictor).__qualname__}"
