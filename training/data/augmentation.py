"""Random changes of crops that leave its buildings what they are: on images and masks at once, by torchvision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from training.data.augmentation_config import AugmentationConfig
from training.data.radiometry import ChannelGain, Coarsening, Darkening, Haze, PercentileStretch, SensorNoise
from training.data.sample import Sample

_MOST_PASTED = 16  # buildings that are copied into a crop
_VISIBLE = 32.0  # of the Beta distribution that mixup's share is drawn from: near a half, so that both images can be seen


IGNORED, MERGED = -1, -2
"""Labels of regions: ground that is not labelled, and several buildings drawn as one."""


@dataclass(eq=False)
class Crop:
    """A training crop on its way: an image (3, H, W) uint8, masks (N, H, W) bool, labels (N,) int64.

    Regions in which instances are not told apart come along as masks, with the labels ``IGNORED`` and ``MERGED``.
    """

    image: tv_tensors.Image
    masks: tv_tensors.Mask
    labels: Tensor

    @classmethod
    def of(cls, sample: Sample) -> Crop:
        """Take a sample over."""
        image = tv_tensors.Image(torch.from_numpy(np.array(sample.image)).permute(2, 0, 1).contiguous())
        labels = np.where(sample.merged, MERGED, np.where(sample.crowd, IGNORED, sample.labels))
        return cls(image, tv_tensors.Mask(torch.from_numpy(sample.masks)), torch.from_numpy(labels))


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
    # In the order in which they happen to light on its way from the ground to a file.
    sensor = {
        Haze: config.haze, Darkening: config.dark, Coarsening: config.coarse, SensorNoise: config.noise,
        PercentileStretch: config.stretch,
    }  # fmt: skip
    steps += [v2.RandomApply([change()], p=share) for change, share in sensor.items() if share > 0]
    if config.jpeg > 0:
        steps.append(v2.RandomApply([v2.JPEG((35, 95))], p=config.jpeg))
    return v2.Compose(steps)


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


def lean(crop: Crop, rng: np.random.Generator) -> Crop:
    """Let the buildings of a crop lean as an off-nadir sensor sees them: all one way, each as far as it is high.

    Roofs move, and with them their masks; the wall between a roof and where it was is painted in a darker tone of it, and hides
    ground and neighbours.
    """
    direction, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.006, 0.025) * crop.image.shape[-1]
    image, masks = crop.image.numpy().copy(), crop.masks.numpy().copy()
    # The farthest against the direction first: a building hides what stands behind it.
    way = np.array([np.sin(direction), np.cos(direction)])
    instances = np.flatnonzero((crop.labels.numpy() >= 0) & masks.any(axis=(1, 2)))
    centres = np.array([np.argwhere(masks[number]).mean(axis=0) @ way for number in instances])
    for number in instances[np.argsort(centres)]:
        roof = masks[number].copy()
        if not roof.any():  # hidden by now
            continue
        steps = [tuple(np.rint(step * way).astype(int)) for step in np.arange(1, height * rng.uniform(0.4, 1.6) + 1)]
        swept = roof.copy()
        for step in steps:
            swept |= _moved(roof, *step)
        end = steps[-1] if steps else (0, 0)
        moved, pixels = _moved(roof, *end), _moved(image, *end)
        wall = swept & ~moved
        tone = image[:, roof].mean(axis=1) * rng.uniform(0.35, 0.85)
        image[:, wall] = np.clip(tone[:, None] + rng.normal(0, 5, (1, int(wall.sum()))), 0, 255)
        image[:, moved] = pixels[:, moved]
        masks &= ~swept
        masks[number] = moved
    return Crop(tv_tensors.Image(torch.from_numpy(image)), tv_tensors.Mask(torch.from_numpy(masks)), crop.labels)


def _moved(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    """Move (..., H, W) by whole pixels; what comes in from beyond the border is 0."""
    height, width = pixels.shape[-2:]
    result = np.zeros_like(pixels)
    to = (slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
    source = (slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0)))
    result[(..., *to)] = pixels[(..., *source)]
    return result


def copy_paste(crop: Crop, other: Crop, rng: np.random.Generator) -> Crop:
    """Copy some buildings of another crop into a crop, where they stand there (Simple Copy-Paste, arXiv 2012.07177).

    They cover what was there, regions too. Borders are softened over a pixel, as a camera would.
    """
    instances = np.flatnonzero(other.labels.numpy() >= 0)
    if not len(instances):
        return crop
    chosen = torch.from_numpy(rng.choice(instances, int(rng.integers(1, min(len(instances), _MOST_PASTED) + 1)), replace=False))
    pasted, labels = other.masks[chosen].as_subclass(Tensor), other.labels[chosen]
    covered = pasted.any(dim=0)
    share = nn.functional.avg_pool2d(covered[None].float(), 3, stride=1, padding=1, count_include_pad=False)
    mixed = share * other.image.float() + (1 - share) * crop.image.float()
    masks = torch.cat([crop.masks.as_subclass(Tensor) & ~covered, pasted])
    return Crop(tv_tensors.Image(mixed.round().to(torch.uint8)), tv_tensors.Mask(masks), torch.cat([crop.labels, labels]))


def mosaic(draw: Callable[[int], Crop], side: int, rng: np.random.Generator) -> Crop:
    """Put a crop together of four, around a point that is drawn from its middle (arXiv 2004.10934, section 3.3).

    Each is drawn no larger than its place, at its own scale: what a pixel shows on the ground stays what it is, and ground that
    is smaller than a whole crop will do. Buildings that the seams cut are kept as what is seen of them.

    Args:
        draw: gives a crop of that many pixels.
        side: of the whole.
        rng: of the point.
    """
    x, y = (int(v) for v in rng.integers(side // 4, side - side // 4 + 1, 2))
    image, masks, labels = torch.zeros((3, side, side), dtype=torch.uint8), [], []
    for top, bottom, left, right in [(0, y, 0, x), (0, y, x, side), (y, side, 0, x), (y, side, x, side)]:
        height, width = bottom - top, right - left
        piece = draw(max(height, width))
        image[:, top:bottom, left:right] = piece.image[:, :height, :width]
        placed = torch.zeros((len(piece.masks), side, side), dtype=torch.bool)
        placed[:, top:bottom, left:right] = piece.masks[:, :height, :width]
        masks.append(placed)
        labels.append(piece.labels)
    return Crop(tv_tensors.Image(image), tv_tensors.Mask(torch.cat(masks)), torch.cat(labels))


def blend(first: Crop, second: Crop, rng: np.random.Generator) -> Crop:
    """Lay a crop over another one, both half visible, and keep the instances of both (mixup, arXiv 1710.09412).

    All instances count in full, as in detection practice: there is no class to soften where each is there or is not.
    """
    share = float(rng.beta(_VISIBLE, _VISIBLE))
    mixed = (share * first.image.float() + (1 - share) * second.image.float()).round_().to(torch.uint8)
    masks = tv_tensors.Mask(torch.cat([first.masks, second.masks]))
    return Crop(tv_tensors.Image(mixed), masks, torch.cat([first.labels, second.labels]))
