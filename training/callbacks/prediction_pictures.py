"""Pictures of what a model in training finds in a few fixed images, beside what stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from scipy import ndimage

from engine.model.postprocess import ImageInstances
from training.data.sample import Sample

_FOUND, _TRUTH = (40, 235, 255), (255, 225, 50)
_SURE = 0.5  # score from which a detection is drawn
_GAP = 6  # pixels between pictures
_COLUMNS = 4  # pairs in a row of the sheet


class PredictionPictures(lightning.Callback):
    """After each validation write one sheet: annotations left, detections of score 0.5 or more right.

    Args:
        folder: for ``step_000500.png`` and so on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or not pl_module.first_found:
            return
        picture = sheet([pair(sample, found) for _, (sample, found) in sorted(pl_module.first_found.items())])
        self.folder.mkdir(exist_ok=True)
        Image.fromarray(picture).save(self.folder / f"step_{pl_module.validated:06}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("predictions", picture, pl_module.validated, dataformats="HWC")


def pair(sample: Sample, found: ImageInstances) -> np.ndarray:
    """Draw annotations and detections over an image, side by side: (H, 2 W + gap, 3) uint8."""
    sure = found.masks[found.scores >= _SURE].numpy()
    gap = np.full((sample.image.shape[0], _GAP // 2, 3), 255, np.uint8)
    return np.hstack([outlined(sample.image, sample.masks, _TRUTH), gap, outlined(sample.image, sure, _FOUND)])


def outlined(image: np.ndarray, masks: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Draw the inner edge of masks (N, H, W) bool over an image (H, W, 3) uint8, and tint what they cover."""
    picture = np.array(image, dtype=np.float32)
    for mask in masks:
        edge = mask & ~ndimage.binary_erosion(mask)
        picture[mask] += 0.18 * (np.float32(colour) - picture[mask])
        picture[edge] = colour
    return picture.astype(np.uint8)


def sheet(pictures: list[np.ndarray], *, columns: int = _COLUMNS) -> np.ndarray:
    """Lay pictures of any sizes out in rows of so many on white: (H, W, 3) uint8."""
    height, width = (max(picture.shape[axis] for picture in pictures) + _GAP for axis in (0, 1))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    whole = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole
