"""Training crops for PyTorch: drawn from several sources, augmented, as the criterion takes them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.errors import ArgumentError
from training.data.augmentation import blend, copy_paste, lean, mosaic, tilt, turn
from training.data.augmentation_config import AugmentationConfig
from training.data.config import SMALLEST_INSTANCE
from training.data.crop import Crop
from training.data.radiometry import change_image, image_changes
from training.data.sources import CropSource, ImageSource
from training.losses.target import Target


class TrainingCrops(Dataset):
    """Crops drawn from several sources, without end.

    Crop ``i`` depends on the seed and on ``i`` alone: not on the number of workers, nor on which crops came before.

    Args:
        sources: and the weight of each.
        scales: range of magnification of each source's crops; None is that of ``augmentation``.
        length: crops of one epoch; numbers beyond it are those of later epochs. None takes each image of the sources once an
            epoch, in an order of its own, which only sources of images allow.
        size: side of a crop in pixels.
        augmentation: what is changed at random.
        seed: of everything that is drawn.
        smallest: instances of fewer pixels in the crop are dropped.
    """

    def __init__(
        self,
        sources: Sequence[tuple[CropSource, float]],
        *,
        length: int | None,
        size: int,
        augmentation: AugmentationConfig,
        seed: int = 0,
        smallest: int = SMALLEST_INSTANCE,
        scales: Sequence[tuple[float, float] | None] | None = None,
    ) -> None:
        shares = np.array([weight for _, weight in sources], dtype=float)
        if not len(shares) or (shares < 0).any() or shares.sum() == 0:
            raise ArgumentError(f"The weights of the sources are {shares.tolist()}.", hint="Give at least one above 0.")
        self.sources = [source for source, _ in sources]
        self.scales = list(scales or [None] * len(self.sources))
        self.size, self.augmentation, self.seed, self.smallest = size, augmentation, seed, smallest
        self._in_turn = length is None
        if length is None:
            shares = np.array([len(source) for source in self.sources])
            length = int(shares.sum())
        self._length = length
        self._shares, self._ends = shares / shares.sum(), np.cumsum(shares)
        self._order: tuple[int, np.ndarray] | None = None
        self._changes = image_changes(augmentation)

    def __len__(self) -> int:
        return self._length

    def with_augmentation(self, augmentation: AugmentationConfig) -> TrainingCrops:
        """Return the same crops under other changes."""
        other = copy(self)
        other.augmentation, other._changes = augmentation, image_changes(augmentation)
        return other

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return an image (3, size, size) uint8 and its target."""
        if index < 0:
            raise IndexError(f"Crop {index}: crops are counted from 0.")
        rng = np.random.default_rng([self.seed, index])
        image = self._image_of(index) if self._in_turn else None
        if rng.random() < self.augmentation.mosaic:
            turns = iter([image])  # the image whose turn it is gives the first piece
            crop = mosaic(lambda side: self._draw(rng, side, next(turns, None)), self.size, rng)
        else:
            crop = self._draw(rng, self.size, image)
        if rng.random() < self.augmentation.copy_paste:
            crop = copy_paste(crop, self._draw(rng, self.size), rng)
        if rng.random() < self.augmentation.mixup:
            crop = blend(crop, self._draw(rng, self.size), rng)
        pixels = torch.from_numpy(np.ascontiguousarray(crop.image.transpose(2, 0, 1)))
        return pixels, crop.target(smallest=self.smallest)

    def _draw(self, rng: np.random.Generator, size: int, image: tuple[ImageSource, int] | None = None) -> Crop:
        """Draw a crop of some size, of one image where it is given, and change it."""
        config = self.augmentation
        number = int(rng.choice(len(self.sources), p=self._shares))
        scale = float(rng.uniform(*(self.scales[number] or config.scale)))
        tilted = rng.random() < config.perspective
        how = {"size": size, "scale": scale * (1 - config.distortion) if tilted else scale, "fill": config.fill}
        if image is None:
            crop = self.sources[number].draw(rng, sparse=rng.random() < config.sparse, **how)
        else:
            crop = image[0].draw(rng, number=image[1], **how)
        if tilted:
            crop = tilt(crop, rng, distortion=config.distortion)
        if rng.random() < config.lean:
            crop = lean(crop, rng)
        crop = turn(crop, rng, config.orientations)
        return Crop(change_image(crop.image, self._changes, rng), crop.layers, crop.labels)

    def _image_of(self, index: int) -> tuple[ImageSource, int]:
        """Return which image stands at a place of the endless sequence of epochs."""
        epoch, place = divmod(index, self._length)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch, 1]).permutation(self._length))
        number = int(self._order[1][place])
        source = int(np.searchsorted(self._ends, number, side="right"))
        return self.sources[source], number - (int(self._ends[source - 1]) if source else 0)
