"""A model that sees tiles, as many at once as suit its device."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from engine.errors import DeviceError
from engine.model.inference import InferenceModel, Precision
from engine.model.instance_model import InstanceModel
from engine.ops.kernels import kernel_name
from engine.tiles.classes import BUILDING
from engine.tiles.predictor import TilePredictor

_LOG = logging.getLogger(__name__)

_PIXELS_AT_ONCE = 8 * 512**2  # on a GPU
_MOST_TILES = 32

Found = TypeVar("Found")


class TileModel(TilePredictor):
    """A model as a predictor of tiles; what it makes of them is the business of its subclasses.

    Args:
        model: on its device; a copy of it made for inference does the work.
        tile_size: side of the tiles in pixels.
        gsd: metres per pixel that the model was trained at; None takes the raster's own.
        precision: ``auto``, ``float32`` or ``bfloat16``; see `engine.model.inference`.
        batch_size: tiles at once; None takes what serves the device best: a CPU gains nothing from more than one.
        compile: compile the network for such batches, here and now; see `engine.model.inference`.
    """

    bands = 3

    def __init__(
        self,
        model: InstanceModel,
        *,
        tile_size: int,
        gsd: float | None,
        precision: Precision = "auto",
        batch_size: int | None = None,
        compile: bool = False,
    ) -> None:
        on_cpu = next(model.parameters()).device.type == "cpu"
        at_once = 1 if on_cpu else max(1, min(_MOST_TILES, _PIXELS_AT_ONCE // tile_size**2))
        self.batch_size = batch_size or at_once
        batch = (self.batch_size, self.bands, tile_size, tile_size)
        self.model = InferenceModel(model, precision=precision, compile_for=batch if compile else None)
        self.tile_size = tile_size
        self.gsd = gsd
        self._compiled = compile
        self._most: int | None = self.batch_size if compile else None  # tiles at once; fewer where memory ran out

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the model's classes."""
        header = self.model.header
        return BUILDING if header is None else header.classes

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @cached_property
    def identity(self) -> str:
        """The model's name and a checksum of its weights; of a model that came from no file, its class."""
        if self.model.header is None:
            return super().identity
        checksum = 0
        for tensor in self.model.state_dict().values():
            # numpy knows no bfloat16, but every float32 that holds one
            checksum = zlib.crc32(np.ascontiguousarray(tensor.detach().cpu().float().numpy()), checksum)
        return f"{self.model.header.name} (weights {checksum:08x})"

    @property
    def kernel(self) -> str:
        """Which kernel runs the attention operator there."""
        return kernel_name(self.device)

    @property
    def calls_at_once(self) -> int:
        """How many batches may be under way: a GPU works on one while the results of another are brought into shape."""
        return 1 if self.device.type == "cpu" else 2

    def see(self, tiles: np.ndarray, look: Callable[[Tensor], Sequence[Found]]) -> list[Found]:
        """Let the model look at tiles, at fewer of them from the moment on that its device runs out of memory.

        Args:
            tiles: (B, 3, H, W) float32 in 0..255.
            look: takes such images on the device and returns something for each; ``see`` may show it more, black ones, at the
                end.

        Raises:
            DeviceError: there is too little memory for one tile.
        """
        if self._most is not None and len(tiles) > self._most:
            parts = [tiles[start : start + self._most] for start in range(0, len(tiles), self._most)]
            return [found for part in parts for found in self.see(part, look)]
        images = tiles
        if self._compiled and len(tiles) < self.batch_size:  # it is compiled for whole batches
            images = np.concatenate([tiles, np.zeros((self.batch_size - len(tiles), *tiles.shape[1:]), np.float32)])
        try:
            return list(look(self._on_device(images))[: len(tiles)])
        except torch.OutOfMemoryError as error:
            if len(images) == 1 or self._compiled:
                raise DeviceError(
                    f"The device {self.device} ran out of memory on {_tiles(len(images))} of {self.tile_size} pixels.",
                    hint="Close what else uses it, or give a smaller --batch-size or --device cpu.",
                ) from error
        self._most = len(tiles) // 2
        _LOG.warning("%s ran out of memory on %d tiles; from now on it sees %d.", self.device, len(tiles), self._most)
        return self.see(tiles, look)

    def _on_device(self, images: np.ndarray) -> torch.Tensor:
        """Copy images to the model's device, to a GPU from pinned memory: without waiting for what it is at."""
        tensor = torch.from_numpy(images)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor.to(self.device)


def _tiles(count: int) -> str:
    return "a tile" if count == 1 else f"{count} tiles"
