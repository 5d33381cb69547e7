"""Training crops for PyTorch: drawn from several sources, augmented, as the criterion takes them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.errors import ArgumentError
from training.data.augmentation import IGNORED, MERGED, Crop, blend, copy_paste, lean, make_augmentation, mosaic, tilt
from training.data.augmentation_config import AugmentationConfig
from training.data.config import SMALLEST_INSTANCE
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
        self._change = make_augmentation(augmentation)

    def __len__(self) -> int:
        return self._length

    def with_augmentation(self, augmentation: AugmentationConfig) -> TrainingCrops:
        """Return the same crops under other changes."""
        other = copy(self)
        other.augmentation, other._change = augmentation, make_augmentation(augmentation)
        return other

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return an image (3, size, size) uint8 and its target."""
        if index < 0:
            raise IndexError(f"Crop {index}: crops are counted from 0.")
        rng = np.random.default_rng([self.seed, index])
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's global generator
            torch.default_generator.manual_seed(int(rng.integers(2**62)))
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
        return crop.image.as_subclass(Tensor), self._target(crop)

    def _target(self, crop: Crop) -> Target:
        """Keep the instances that are large enough, and put regions together."""
        masks = crop.masks.as_subclass(Tensor)
        pixels = torch.tensor([np.count_nonzero(mask) for mask in masks.numpy()])  # ten times as fast as a sum
        large = (pixels >= self.smallest) & (crop.labels >= 0)
        target = target_of_masks(masks[large], crop.labels[large])
        merged = masks[crop.labels == MERGED].any(dim=0)
        ignored = masks[crop.labels == IGNORED].any(dim=0) | merged
        return replace(target, ignored=ignored, merged=merged) if ignored.any() else target

    def _draw(self, rng: np.random.Generator, size: int, image: tuple[ImageSource, int] | None = None) -> Crop:
        """Draw a crop of some size, of one image where it is given, and change it."""
        config = self.augmentation
        number = int(rng.choice(len(self.sources), p=self._shares))
        scale = float(rng.uniform(*(self.scales[number] or config.scale)))
        tilted = rng.random() < config.perspective
        how = {"size": size, "scale": scale * (1 - config.distortion) if tilted else scale, "fill": config.fill}
        if image is None:
            crop = Crop.of(self.sources[number].draw(rng, sparse=rng.random() < config.sparse, **how))
        else:
            crop = Crop.of(image[0].draw(rng, number=image[1], **how))
        if tilted:
            crop = tilt(crop, rng, distortion=config.distortion)
        if rng.random() < config.lean:
            crop = lean(crop, rng)
        changed, masks = self._change(crop.image, crop.masks)
        return Crop(changed, masks, crop.labels)

    def _image_of(self, index: int) -> tuple[ImageSource, int]:
        """Return which image stands at a place of the endless sequence of epochs."""
        epoch, place = divmod(index, self._length)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch, 1]).permutation(self._length))
        number = int(self._order[1][place])
        source = int(np.searchsorted(self._ends, number, side="right"))
        return self.sources[source], number - (int(self._ends[source - 1]) if source else 0)


def target_of_masks(masks: Tensor, labels: Tensor | None = None) -> Target:
    """Build the target of instances from their masks (N, H, W) bool, none empty; boxes are the masks' own.

    ``labels`` (N,) int64 are all 0 by default.
    """
    count, height, width = masks.shape
    columns, rows = masks.any(dim=1), masks.any(dim=2)  # (N, W), (N, H)
    edges = []
    for present, length in ((columns, width), (rows, height)):
        first = present.to(torch.uint8).argmax(dim=1)
        last = length - present.flip(1).to(torch.uint8).argmax(dim=1)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    boxes = torch.stack([left, top, right, bottom], dim=1).float()
    return Target.from_pixels(torch.zeros(count, dtype=torch.int64) if labels is None else labels, boxes, masks)
