"""A Mask DINO model as a predictor of tiles."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from engine.detection.instances import Instances
from engine.errors import DeviceError
from engine.model.maskdino import MaskDino
from engine.model.outputs import Outputs
from engine.model.postprocess import image_instances
from engine.ops.kernels import kernel_name

_SPECK = 0.1  # a part of a mask smaller than this share of its largest part is noise, not a wing of the building


class ModelPredictor:
    """Find the buildings of a tile with a model; see `engine.detection.instances.Predictor`.

    Args:
        model: on its device.
        tile_size: side of the tiles in pixels.
        gsd: metres a pixel that the model was trained at; None takes the raster's own.
        score: instances below it are left out, before the work that their masks would make.
    """

    bands = 3

    def __init__(self, model: MaskDino, *, tile_size: int, gsd: float | None, score: float) -> None:
        self.model = model.eval()
        self.tile_size = tile_size
        self.gsd = gsd
        self.score = score

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.pixel_mean.device

    @property
    def kernel(self) -> str:
        """Which kernel runs the attention operator there."""
        return kernel_name(self.device)

    @property
    def batch_size(self) -> int:
        """How many tiles at once serve the device best: a CPU gains nothing from more than one."""
        return 1 if self.device.type == "cpu" else 8

    @torch.inference_mode()
    def predict(self, tiles: np.ndarray) -> list[Instances]:
        """(B, 3, H, W) float32 in 0..255 -> the instances of each tile, best first; masks may overlap."""
        images = torch.from_numpy(tiles).to(self.device)
        try:
            outputs = self.model(images)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"The device {self.device} ran out of memory on {len(tiles)} tiles of {self.tile_size} pixels.",
                hint="Give a smaller --batch-size, or --device cpu.",
            ) from error
        size = tuple(images.shape[-2:])
        padded = self.model.padded_size([size])
        return [self._instances(outputs, index, size, padded) for index in range(len(images))]

    def _instances(self, outputs: Outputs, index: int, size: tuple[int, int], padded: tuple[int, int]) -> Instances:
        found = image_instances(
            outputs,
            index,
            image_size=size,
            padded_size=padded,
            count=self.model.config.detections_per_image,
            threshold=self.score,
        )
        kept = found.scores >= self.score
        masks = [without_specks(mask) for mask in found.masks[kept].cpu().numpy()]
        return Instances(
            scores=found.scores[kept].cpu().numpy().astype(np.float32),
            labels=found.labels[kept].cpu().numpy(),
            masks=np.stack(masks) if masks else np.zeros((0, *size), dtype=bool),
        )


def without_specks(mask: np.ndarray) -> np.ndarray:
    """Keep the parts of a mask (H, W) that are of a size with its largest."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return (areas >= _SPECK * areas.max())[parts] & mask
