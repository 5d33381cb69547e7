"""Training crops for PyTorch: several sources mixed by weight, augmented, as the criterion takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from engine.errors import ArgumentError
from training.data.augmentation import make_augmentation
from training.data.sample import Sample
from training.data.sources import CropSource
from training.losses.target import Target

SMALLEST_INSTANCE = 12  # pixels; what a crop's border leaves of a building below that cannot be told from clutter


class MixedCrops(Dataset):
    """Crops drawn from several sources.

    Crop ``i`` depends on the seed and on ``i`` alone: not on the number of workers, nor on which crops came before. A run
    that stopped goes on where it was with a sampler that starts at the next index.

    Args:
        sources: and the weight of each.
        length: number of crops, as many as training will take; none is stored.
        size: side of a crop in pixels.
        gsd: metres a pixel of the model.
        scale: range of factors on ``gsd``, drawn evenly in the logarithm.
        seed: of everything that is drawn.
        smallest: instances of fewer pixels in the crop are dropped.
        colour: strength of the changes of colour, see ``make_augmentation``.
    """

    def __init__(
        self,
        sources: Sequence[tuple[CropSource, float]],
        *,
        length: int,
        size: int = 256,
        gsd: float = 0.3,
        scale: tuple[float, float] = (0.75, 1.3),
        seed: int = 0,
        smallest: int = SMALLEST_INSTANCE,
        colour: float = 1.0,
    ) -> None:
        shares = np.array([weight for _, weight in sources], dtype=float)
        if not len(shares) or (shares < 0).any() or shares.sum() == 0:
            raise ArgumentError(f"The weights of the sources are {shares.tolist()}.", hint="Give at least one above 0.")
        self.sources = [source for source, _ in sources]
        self.length, self.size, self.gsd, self.scale, self.seed = length, size, gsd, scale, seed
        self.smallest = smallest
        self._shares = shares / shares.sum()
        self._augment = make_augmentation(colour=colour)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return an image (3, H, W) float32 in 0..255 and its target."""
        if not 0 <= index < self.length:
            raise IndexError(f"Crop {index} of {self.length}.")
        rng = np.random.default_rng([self.seed, index])
        source = self.sources[int(rng.choice(len(self.sources), p=self._shares))]
        gsd = self.gsd * float(np.exp(rng.uniform(*np.log(self.scale))))
        sample = source.draw(rng, size=self.size, gsd=gsd, smallest=self.smallest)
        image = tv_tensors.Image(torch.from_numpy(np.array(sample.image)).permute(2, 0, 1))
        masks = tv_tensors.Mask(torch.from_numpy(sample.masks))
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.manual_seed(int(rng.integers(2**62)))
            image, masks = self._augment(image, masks)
        return image.as_subclass(Tensor).float(), target_of_masks(masks.as_subclass(Tensor))


def target_of_masks(masks: Tensor) -> Target:
    """Build the target of instances of one class from their masks (N, H, W) bool; boxes are the masks' own."""
    count, height, width = masks.shape
    columns, rows = masks.any(dim=1), masks.any(dim=2)  # (N, W), (N, H)
    edges = []
    for present, length in ((columns, width), (rows, height)):
        first = present.to(torch.uint8).argmax(dim=1)
        last = length - present.flip(1).to(torch.uint8).argmax(dim=1)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    boxes = torch.stack([left, top, right, bottom], dim=1).float()
    return Target.from_pixels(torch.zeros(count, dtype=torch.int64), boxes, masks)


def to_tensors(sample: Sample) -> tuple[Tensor, Target]:
    """Turn a sample, as ``CocoFolder`` or ``Scene.windows`` give it, into what ``MixedCrops`` gives; crowds are left out."""
    image = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1).float()
    return image, target_of_masks(torch.from_numpy(sample.masks[~sample.crowd]))


def collate(batch: Sequence[tuple[Tensor, Target]]) -> tuple[Tensor, list[Target]]:
    """Stack the images of a batch (B, 3, H, W) and list their targets."""
    images, targets = zip(*batch, strict=True)
    return torch.stack(images), list(targets)
