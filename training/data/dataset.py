"""Training crops for PyTorch: drawn from several sources, augmented, as the criterion takes them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.errors import ArgumentError
from training.data.augmentation import Crop, blend, make_augmentation, mosaic, tilt
from training.data.augmentation_config import AugmentationConfig
from training.data.config import SMALLEST_INSTANCE
from training.data.sources import CropSource, ImageSource
from training.losses.target import Target


class TrainingCrops(Dataset):
    """Crops drawn from several sources, without end.

    Crop ``i`` depends on the seed and on ``i`` alone: not on the number of workers, nor on which crops came before.

    Args:
        sources: and the weight of each.
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
    ) -> None:
        shares = np.array([weight for _, weight in sources], dtype=float)
        if not len(shares) or (shares < 0).any() or shares.sum() == 0:
            raise ArgumentError(f"The weights of the sources are {shares.tolist()}.", hint="Give at least one above 0.")
        self.sources = [source for source, _ in sources]
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
        """Return an image (3, size, size) float32 in 0..255 and its target."""
        if index < 0:
            raise IndexError(f"Crop {index}: crops are counted from 0.")
        rng = np.random.default_rng([self.seed, index])
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's global generator
            torch.default_generator.manual_seed(int(rng.integers(2**62)))
            crop = self._draw(rng, self._image_of(index) if self._in_turn else None)
            if rng.random() < self.augmentation.mosaic:
                crop = mosaic([crop, *(self._draw(rng) for _ in range(3))], rng)
            if rng.random() < self.augmentation.mixup:
                crop = blend(crop, self._draw(rng), rng)
        masks = crop.masks.as_subclass(Tensor)
        large = masks.flatten(1).sum(1) >= self.smallest
        return crop.image.as_subclass(Tensor).float(), target_of_masks(masks[large], crop.labels[large])

    def _draw(self, rng: np.random.Generator, image: tuple[ImageSource, int] | None = None) -> Crop:
        """Draw a crop, of one image where it is given, and change it."""
        config = self.augmentation
        scale = float(rng.uniform(*config.scale))
        tilted = rng.random() < config.perspective
        room = scale * (1 - config.distortion) if tilted else scale
        how = {"size": self.size, "scale": room, "fill": config.fill}
        if image is None:
            crop = Crop.of(self.sources[int(rng.choice(len(self.sources), p=self._shares))].draw(rng, **how))
        else:
            crop = Crop.of(image[0].draw(rng, number=image[1], **how))
        if tilted:
            crop = tilt(crop, rng, distortion=config.distortion)
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


def collate(batch: Sequence[tuple[Tensor, Target]]) -> tuple[Tensor, list[Target]]:
    """Stack the images of a batch (B, 3, H, W) and list their targets."""
    images, targets = zip(*batch, strict=True)
    return torch.stack(images), list(targets)
