"""A model as a predictor of instances."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from engine.detection.instances import Instances, Predictor
from engine.model.instance_model import InstanceModel
from engine.model.postprocess import ImageInstances
from engine.tiles.tile_model import TileModel

_SPECK = 0.1  # a part of a mask smaller than this share of its largest part is noise, not a wing of the building


class ModelPredictor(TileModel, Predictor):
    """Find the instances of a tile with a model; see `engine.detection.instances.Predictor`.

    Args:
        model: on its device; a copy of it made for inference does the work.
        score: instances below it are left out, before the work that their masks would make.
        options: those of `TileModel`.
    """

    def __init__(self, model: InstanceModel, *, score: float, **options: Any) -> None:
        super().__init__(model, **options)
        self.score = score

    def predict(self, tiles: np.ndarray) -> list[Instances]:
        """(B, 3, H, W) float32 in 0..255 -> the instances of each tile, best first; masks may overlap."""
        found = self.see(tiles, lambda images: self.model.instances(images, threshold=self.score))
        return [self._kept(instances) for instances in found]

    def _kept(self, found: ImageInstances) -> Instances:
        masks = found.masks.numpy()
        for mask in masks:
            mask[:] = without_specks(mask)
        return Instances(scores=found.scores.numpy().astype(np.float32), labels=found.labels.numpy(), masks=masks)


def without_specks(mask: np.ndarray) -> np.ndarray:
    """Keep the parts of a mask (H, W) that are of a size with its largest."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return mask
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most of a tile is not this building
    parts, count = ndimage.label(mask[window])
    if count < 2:
        return mask
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = mask.copy()
    kept[window] &= (areas >= _SPECK * areas.max())[parts]
    return kept
