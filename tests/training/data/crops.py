"""Crops whose instances are given as masks."""

from __future__ import annotations

import numpy as np

from training.data.crop import Crop


def crop_of_masks(masks: np.ndarray, *, image: np.ndarray | None = None, labels: np.ndarray | None = None) -> Crop:
    """Give each mask (N, H, W) bool a layer of its own; the image is black and all labels are 0 by default."""
    count, height, width = masks.shape
    layers = np.zeros((max(count, 1), height, width), np.int32)
    layers[:count] = masks * np.arange(1, count + 1)[:, None, None]
    image = np.zeros((height, width, 3), np.uint8) if image is None else image
    return Crop(image, layers, np.zeros(count, np.int64) if labels is None else labels)
