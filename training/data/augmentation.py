"""Random changes of crops that leave its buildings what they are: on images and masks at once, by torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from training.data.augmentation_config import AugmentationConfig
from training.data.sample import Sample

_VISIBLE = 32.0  # of the Beta distribution that mixup's share is drawn from: near a half, so that both images can be seen


@dataclass(eq=False)
class Crop:
    """A training crop on its way: an image (3, H, W) uint8, masks (N, H, W) bool, labels (N,) int64."""

    image: tv_tensors.Image
    masks: tv_tensors.Mask
    labels: Tensor

    @classmethod
    def of(cls, sample: Sample) -> Crop:
        """Take a sample over, without its crowds: they cannot be learned from."""
        image = tv_tensors.Image(torch.from_numpy(np.array(sample.image)).permute(2, 0, 1))
        masks = tv_tensors.Mask(torch.from_numpy(sample.masks[~sample.crowd]))
        return cls(image, masks, torch.from_numpy(sample.labels[~sample.crowd]))


def make_augmentation(config: AugmentationConfig) -> v2.Transform:
    """Build what changes a crop by itself: orientations, light, colour and sharpness.

    Returns:
        A transform of (``tv_tensors.Image`` uint8 (3, H, W), ``tv_tensors.Mask`` (N, H, W)), square.
    """
    steps: list[nn.Module] = [v2.Identity()]
    if config.orientations != "none":
        steps.append(v2.RandomHorizontalFlip())
    if config.orientations == "eight":
        steps += [v2.RandomVerticalFlip(), v2.RandomApply([v2.RandomRotation((90, 90))])]
    colour = config.colour
    if colour > 0:
        steps += [
            v2.ColorJitter(brightness=0.3 * colour, contrast=0.25 * colour, saturation=0.3 * colour),
            v2.RandomApply([ChannelGain(0.08 * colour)], p=0.5),
            v2.RandomApply([v2.ColorJitter(hue=0.03 * colour)], p=0.1),
            v2.RandomGrayscale(p=0.02),
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.1))], p=0.15),
        ]
    return v2.Compose(steps)


class ChannelGain(nn.Module):
    """Multiply each band by a number near one: another white balance, another sensor.

    A plain module, since the hooks of ``v2.Transform`` changed their names between versions of torchvision.

    Args:
        spread: standard deviation of the logarithm of the gain.
    """

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread

    def forward(self, image: tv_tensors.Image, *others: Tensor) -> tuple[Tensor, ...]:
        gain = torch.exp(self.spread * torch.randn(3))[:, None, None]
        scaled = (image.float() * gain).clamp_(0, 255).to(image.dtype)
        return tv_tensors.wrap(scaled, like=image), *others


def tilt(crop: Crop, rng: np.random.Generator, *, distortion: float) -> Crop:
    """See a crop as by a tilted camera.

    The corners of the result are points inside the crop, so nothing has to be filled in; what is seen is magnified by some
    1 / (1 - distortion), for which the caller leaves room.

    Args:
        crop: square.
        rng: of the four points.
        distortion: how far from the corners they may be, as a share of the side.
    """
    side = crop.image.shape[-1]
    corners = [(0, 0), (side, 0), (side, side), (0, side)]
    # Half a pixel at least: nearer to the border, torchvision mixes in the black around the image.
    inward = (0.5 + rng.uniform(0, distortion * side, (4, 2))) * [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    points = (np.array(corners) + inward).tolist()
    image, masks = (
        v2.functional.perspective(tensor, startpoints=points, endpoints=[list(corner) for corner in corners])
        for tensor in (crop.image, crop.masks)
    )
    return Crop(image, masks, crop.labels)


def mosaic(crops: Sequence[Crop], rng: np.random.Generator) -> Crop:
    """Put a crop together of four, around a point that is drawn from its middle (arXiv 2004.10934, section 3.3).

    Each gives a piece from anywhere in it, at its own scale: what a pixel shows on the ground stays what it is. Buildings that
    the seams cut are kept as what is seen of them.

    Args:
        crops: four, square and of one size.
        rng: of the point and the pieces.
    """
    side = crops[0].image.shape[-1]
    x, y = (int(v) for v in rng.integers(side // 4, side - side // 4 + 1, 2))
    image, places, masks = crops[0].image.clone(), [(0, y, 0, x), (0, y, x, side), (y, side, 0, x), (y, side, x, side)], []
    for crop, (top, bottom, left, right) in zip(crops, places, strict=True):
        height, width = bottom - top, right - left
        row, column = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
        image[:, top:bottom, left:right] = crop.image[:, row : row + height, column : column + width]
        moved = torch.zeros_like(crop.masks)
        moved[:, top:bottom, left:right] = crop.masks[:, row : row + height, column : column + width]
        masks.append(moved)
    return Crop(image, tv_tensors.Mask(torch.cat(masks)), torch.cat([crop.labels for crop in crops]))


def blend(first: Crop, second: Crop, rng: np.random.Generator) -> Crop:
    """Lay a crop over another one, both half visible, and keep the instances of both (mixup, arXiv 1710.09412).

    All instances count in full, as in detection practice: there is no class to soften where each is there or is not.
    """
    share = float(rng.beta(_VISIBLE, _VISIBLE))
    mixed = (share * first.image.float() + (1 - share) * second.image.float()).round_().to(torch.uint8)
    masks = tv_tensors.Mask(torch.cat([first.masks, second.masks]))
    return Crop(tv_tensors.Image(mixed), masks, torch.cat([first.labels, second.labels]))
