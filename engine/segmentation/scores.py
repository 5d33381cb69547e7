"""What the pipeline asks of whatever scores the classes of pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.errors import ArgumentError
from engine.tiles.predictor import TilePredictor


class ScorePredictor(TilePredictor, ABC):
    """Anything that scores the classes of a tile's pixels: a model for semantic segmentation, a table of known answers.

    A class with these four attributes and ``scores`` can stand in without being a subclass; it may have the others of
    `engine.tiles.predictor.TilePredictor` too, which otherwise are those of that class.

    Attributes:
        tile_size: side of the square tiles that it takes, in pixels.
        gsd: ground sampling distance that it wants, in metres per pixel; None takes the raster's own.
        bands: how many bands a tile has.
        classes: names of the classes that it scores, by their numbers.
    """

    tile_size: int
    gsd: float | None
    bands: int
    classes: tuple[str, ...]

    @abstractmethod
    def scores(self, tiles: np.ndarray) -> Sequence[np.ndarray]:
        """Score every class at every pixel of each tile.

        Args:
            tiles: (B, bands, H, W) float32, values 0..255. B varies from call to call; H = W = tile_size.

        Returns:
            (classes, H, W) float32 for each tile, in the order of the tiles; not negative, and of one scale in all tiles, since
            those of overlapping tiles are added. The class with the highest sum is the pixel's; where all are 0, it has none.
        """


def as_score_predictor(given: Any) -> ScorePredictor:
    """Return a predictor as it is; one that is no subclass gets the attributes that it lacks."""
    return given if isinstance(given, ScorePredictor) else _StandIn(given)


class _StandIn(ScorePredictor):
    """A predictor that does not derive from the class, with the class's defaults."""

    def __init__(self, given: Any) -> None:
        self._given = given
        self.take_attributes(given)

    def scores(self, tiles: np.ndarray) -> Sequence[np.ndarray]:
        return self._given.scores(tiles)


def checked_scores(scores: Any, *, classes: int, tile_size: int) -> np.ndarray:
    """Return the scores of a tile as (classes, tile_size, tile_size) float32.

    Raises:
        ArgumentError: they are not of this shape, or one is negative or no number.
    """
    scores = np.asarray(scores, dtype=np.float32)
    if scores.shape != (classes, tile_size, tile_size):
        raise ArgumentError(
            f"The predictor gave scores of shape {scores.shape} of a tile; it should be {(classes, tile_size, tile_size)}.",
            hint="Name its classes by their numbers in its attribute `classes`.",
        )
    lowest = float(scores.min())
    if not lowest >= 0:
        raise ArgumentError(
            f"The predictor gave the score {lowest:g}.", hint="Scores are numbers from 0 on, such as probabilities."
        )
    return scores
