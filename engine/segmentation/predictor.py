"""A model as a predictor of class scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from engine.model.families.family_model import FamilyModel
from engine.segmentation.scores import ScorePredictor
from engine.tiles.tile_model import TileModel

_SCORES_AT_ONCE = 2**27  # of a batch: half a gigabyte, several times of which are under way


class ModelScores(TileModel, ScorePredictor):
    """Score the classes of a tile's pixels with a model; see `engine.segmentation.scores.ScorePredictor`.

    Args:
        model: on its device, of a family that can be asked for ``semantic``.
        tile_size: side of the tiles in pixels.
        batch_size: tiles at once; None takes what serves the device best, and fewer of a model with many classes.
        options: the others of `TileModel`.
    """

    def __init__(self, model: FamilyModel, *, tile_size: int, batch_size: int | None = None, **options: Any) -> None:
        super().__init__(model, tile_size=tile_size, batch_size=batch_size, **options)
        if batch_size is None:
            self.batch_size = max(1, min(self.batch_size, _SCORES_AT_ONCE // (len(self.classes) * tile_size**2)))

    def scores(self, tiles: np.ndarray) -> list[np.ndarray]:
        """(B, 3, H, W) float32 in 0..255 -> (classes, H, W) float32 of each tile."""
        return self.see(tiles, self._scored)

    def _scored(self, images: Tensor) -> list[np.ndarray]:
        return [scores.float().cpu().numpy() for scores in self.model.semantic(images)]
