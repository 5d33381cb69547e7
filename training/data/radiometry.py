"""Random changes of light, sharpness and storage: what sensors, weather and programs do to imagery, its buildings unmoved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training.data.augmentation_config import AugmentationConfig

_DARK = 60.0  # mean of an image that is dark enough
_GREY = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


class ImageChange(Protocol):
    """A change of an image alone."""

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        """Return pixels (3, H, W) float32, as they came in 0..255, or a little beyond."""
        ...


def image_changes(config: AugmentationConfig) -> list[tuple[float, ImageChange]]:
    """List what changes images, and the share of crops that each changes, in the order in which it happens.

    That is the order in which it happens to light on its way from the ground to a file.
    """
    colour = config.colour
    changes: list[tuple[float, ImageChange]] = []
    if colour > 0:
        changes += [
            (1.0, ColourJitter(brightness=0.3 * colour, contrast=0.25 * colour, saturation=0.3 * colour)),
            (0.5, ChannelGain(0.08 * colour)),
            (0.1, HueShift(0.03 * colour)),
            (0.02, Grey()),
            (0.15, Blur((0.3, 1.1))),
        ]
    changes += [
        (config.haze, Haze()), (config.dark, Darkening()), (config.coarse, Coarsening()), (config.noise, SensorNoise()),
        (config.stretch, PercentileStretch()), (config.jpeg, JpegArtefacts((35, 95))),
    ]  # fmt: skip
    return [(share, change) for share, change in changes if share > 0]


def change_image(image: np.ndarray, changes: Sequence[tuple[float, ImageChange]], rng: np.random.Generator) -> np.ndarray:
    """Change an image (H, W, 3) uint8 by those of the changes that are drawn; rounded once, at the end."""
    drawn = [change for share, change in changes if rng.random() < share]
    if not drawn:
        return image
    pixels = torch.from_numpy(image).permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
    for change in drawn:
        pixels = change(pixels, rng).clamp_(0, 255)
    return pixels.round_().to(torch.uint8).permute(1, 2, 0).numpy()


class ColourJitter:
    """Change brightness, then contrast about the mean, then saturation: together one matrix of the bands.

    Args:
        brightness, contrast, saturation: how far from one the factors may be.
    """

    def __init__(self, *, brightness: float, contrast: float, saturation: float) -> None:
        self.ranges = [(max(0.0, 1 - spread), 1 + spread) for spread in (brightness, contrast, saturation)]

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        brightness, contrast, saturation = (float(rng.uniform(*limits)) for limits in self.ranges)
        matrix = brightness * contrast * (saturation * torch.eye(3) + (1 - saturation) * _GREY)
        mean = brightness * (_GREY @ pixels.mean(dim=(1, 2)))
        return (matrix @ pixels.flatten(1)).add_((1 - contrast) * mean).view_as(pixels)


class ChannelGain:
    """Multiply each band by a number near one: another white balance, another sensor.

    Args:
        spread: standard deviation of the logarithm of the gain.
    """

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        return pixels * _of_bands(np.exp(self.spread * rng.standard_normal(3)))


class HueShift:
    """Turn the colours about the axis of the greys, by Rodrigues' formula.

    Args:
        most: share of a whole turn, either way.
    """

    def __init__(self, most: float) -> None:
        self.most = most

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        angle = 2 * math.pi * rng.uniform(-self.most, self.most)
        across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
        matrix = math.cos(angle) * torch.eye(3) + (1 - math.cos(angle)) / 3 + math.sin(angle) * across
        return (matrix @ pixels.flatten(1)).view_as(pixels)


class Grey:
    """Take the colour away."""

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        return (_GREY[:, None, None] * pixels).sum(dim=0).expand_as(pixels).clone()


class Blur:
    """Blur as a lens out of focus.

    Args:
        sigmas: range of the standard deviation in pixels.
    """

    def __init__(self, sigmas: tuple[float, float]) -> None:
        self.sigmas = sigmas

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        weights = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / float(rng.uniform(*self.sigmas))) ** 2)
        weights = (weights / weights.sum()).tolist()
        # Rows, then columns, as sums of moved images: a convolution of five by five takes ten times as long.
        padded = F.pad(pixels, (2, 2, 2, 2), mode="reflect")
        height, width = pixels.shape[-2:]
        rows = sum(weight * padded[:, step : step + height] for step, weight in enumerate(weights))
        return sum(weight * rows[..., step : step + width] for step, weight in enumerate(weights))


class Darkening:
    """Take light away: most of an image ends up in the lower half of the range, as in much satellite imagery."""

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        if pixels.mean() < _DARK:
            return pixels
        return 255 * rng.uniform(0.3, 0.85) * (pixels / 255) ** rng.uniform(0.9, 1.7)


class Haze:
    """Lay a bright, slightly blue veil over an image, which takes its contrast."""

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        veil = rng.uniform(0.15, 0.5)
        light = rng.uniform(150, 235) * np.array([0.96, 1.0, rng.uniform(1.0, 1.06)])
        return (1 - veil) * pixels + _of_bands(veil * light)


class PercentileStretch:
    """Spread each band between two of its percentiles over the whole range, as 16 bit imagery is made 8 bit."""

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        shares = torch.tensor([rng.uniform(0.002, 0.03), rng.uniform(0.96, 0.998)], dtype=torch.float32)
        low, high = torch.quantile(pixels.flatten(1)[:, ::7], shares, dim=1)  # every 7th pixel tells as much
        return 255 * (pixels - low[:, None, None]) / (high - low).clamp(min=8.0)[:, None, None]


class Coarsening:
    """Resample an image from larger pixels: what a coarser sensor saw, brought to the model's resolution.

    Args:
        factors: range of the pixels' sides.
    """

    def __init__(self, factors: tuple[float, float] = (1.3, 2.7)) -> None:
        self.factors = factors

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        size = pixels.shape[-2:]
        factor = rng.uniform(*self.factors)
        smaller = [max(8, round(side / factor)) for side in size]
        coarse = F.interpolate(pixels[None], size=smaller, mode="bilinear", antialias=True)
        return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[0]


class SensorNoise:
    """Add normal noise, the same in all bands for one half of it."""

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        strength = rng.uniform(1.5, 7.0) / math.sqrt(2)
        bands, height, width = pixels.shape
        own = torch.Generator().manual_seed(int(rng.integers(2**62)))  # three times as fast as numpy's
        noise = torch.randn((bands + 1, height, width), generator=own)
        return pixels + strength * (noise[:bands] + noise[bands:])


class JpegArtefacts:
    """Store an image as JPEG and read it again.

    Args:
        qualities: range of the quality.
    """

    def __init__(self, qualities: tuple[int, int]) -> None:
        self.qualities = qualities

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        low, high = self.qualities
        stored = BytesIO()
        image = Image.fromarray(pixels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
        image.save(stored, "JPEG", quality=int(rng.integers(low, high + 1)))
        return torch.from_numpy(np.array(Image.open(stored, formats=("JPEG",)))).permute(2, 0, 1).float()


def _of_bands(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
