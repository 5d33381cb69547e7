"""A Mask DINO model as a predictor of tiles."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from engine.detection.instances import Instances
from engine.model.maskdino import MaskDino
from engine.model.postprocess import image_instances

_DUPLICATE = 0.5  # a mask with more than this share inside a better one is the same building again
_SPECK = 0.1  # a part of a mask smaller than this share of its largest part is noise, not a wing of the building


class ModelPredictor:
    """Find the buildings of a tile with a model; see `engine.detection.instances.Predictor`.

    What leaves it is clean: the masks of a tile do not overlap, none is a second copy of another, and none carries specks.
    """

    def __init__(
        self, model: MaskDino, *, tile_size: int, gsd: float | None, score: float = 0.05, device: str = "cpu"
    ) -> None:
        self.model = model.to(device).eval()
        self.tile_size = tile_size
        self.gsd = gsd
        self.bands = 3
        self.score = score
        self.device = torch.device(device)

    @torch.inference_mode()
    def predict(self, tiles: np.ndarray) -> list[Instances]:
        """(B, 3, H, W) float32 in 0..255 -> the instances of each tile."""
        images = torch.from_numpy(tiles).to(self.device)
        outputs = self.model(images)
        step = self.model.config.size_divisibility
        size = tuple(images.shape[-2:])
        padded = (-(-size[0] // step) * step, -(-size[1] // step) * step)
        results = []
        for index in range(len(images)):
            found = image_instances(
                outputs,
                index,
                image_size=size,
                padded_size=padded,
                count=self.model.config.detections_per_image,
                threshold=self.score,
            )
            kept = found.scores >= self.score
            results.append(_clean(found.scores[kept], found.labels[kept], found.masks[kept]))
        return results


def _clean(scores: Tensor, labels: Tensor, masks: Tensor) -> Instances:
    """Give each pixel to the best mask over it, and drop what is a copy, a speck or nothing.

    Args:
        scores: (N,) best first.
        labels: (N,).
        masks: (N, H, W) bool.
    """
    masks = masks.cpu().numpy()
    taken = np.zeros(masks.shape[1:], dtype=bool)
    kept, cleaned = [], []
    for index, mask in enumerate(masks):
        area = int(mask.sum())
        free = mask & ~taken
        if area == 0 or free.sum() < (1 - _DUPLICATE) * area:
            continue
        free = _without_specks(free)
        taken |= free
        kept.append(index)
        cleaned.append(free)
    return Instances(
        scores=scores.cpu().numpy()[kept].astype(np.float32),
        labels=labels.cpu().numpy()[kept],
        masks=np.stack(cleaned) if cleaned else np.zeros((0, *masks.shape[1:]), dtype=bool),
    )


def _without_specks(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    areas = np.bincount(parts.ravel())[1:]
    return np.isin(parts, 1 + np.flatnonzero(areas >= _SPECK * areas.max()))
