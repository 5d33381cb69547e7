"""Random changes of light, sharpness and storage: what sensors, weather and programs do to imagery, its buildings unmoved.

Plain modules in the form of torchvision's transforms, since the hooks of ``v2.Transform`` changed their names between versions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import tv_tensors

_DARK = 60.0  # mean of an image that is dark enough


class ImageChange(nn.Module):
    """Change an image and leave what comes with it, such as masks, alone."""

    def forward(self, image: tv_tensors.Image, *others: Tensor) -> tuple[Tensor, ...]:
        changed = self.change(image.as_subclass(Tensor).float()).round_().clamp_(0, 255)
        return tv_tensors.wrap(changed.to(image.dtype), like=image), *others

    def change(self, pixels: Tensor) -> Tensor:
        """Return pixels (3, H, W) float32, in 0..255 or a little beyond."""
        raise NotImplementedError


class ChannelGain(ImageChange):
    """Multiply each band by a number near one: another white balance, another sensor.

    Args:
        spread: standard deviation of the logarithm of the gain.
    """

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread

    def change(self, pixels: Tensor) -> Tensor:
        return pixels * torch.exp(self.spread * torch.randn(3))[:, None, None]


class Darkening(ImageChange):
    """Take light away: most of an image ends up in the lower half of the range, as in much satellite imagery."""

    def change(self, pixels: Tensor) -> Tensor:
        if pixels.mean() < _DARK:
            return pixels
        return 255 * _uniform(0.3, 0.85) * (pixels / 255) ** _uniform(0.9, 1.7)


class Haze(ImageChange):
    """Lay a bright, slightly blue veil over an image, which takes its contrast."""

    def change(self, pixels: Tensor) -> Tensor:
        veil = _uniform(0.15, 0.5)
        light = _uniform(150, 235) * torch.tensor([0.96, 1.0, _uniform(1.0, 1.06)])
        return (1 - veil) * pixels + veil * light[:, None, None]


class PercentileStretch(ImageChange):
    """Spread each band between two of its percentiles over the whole range, as 16 bit imagery is made 8 bit."""

    def change(self, pixels: Tensor) -> Tensor:
        shares = torch.tensor([_uniform(0.002, 0.03), _uniform(0.96, 0.998)])
        low, high = torch.quantile(pixels.flatten(1)[:, ::7], shares, dim=1)  # every 7th pixel tells as much
        return 255 * (pixels - low[:, None, None]) / (high - low).clamp(min=8.0)[:, None, None]


class Coarsening(ImageChange):
    """Resample an image from larger pixels: what a coarser sensor saw, brought to the model's resolution.

    Args:
        factors: range of the pixels' sides.
    """

    def __init__(self, factors: tuple[float, float] = (1.3, 2.7)) -> None:
        super().__init__()
        self.factors = factors

    def change(self, pixels: Tensor) -> Tensor:
        size = pixels.shape[-2:]
        factor = _uniform(*self.factors)
        smaller = [max(8, round(side / factor)) for side in size]
        coarse = F.interpolate(pixels[None], size=smaller, mode="bilinear", antialias=True)
        return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[0]


class SensorNoise(ImageChange):
    """Add normal noise, the same in all bands for one half of it."""

    def change(self, pixels: Tensor) -> Tensor:
        strength = _uniform(1.5, 7.0) / math.sqrt(2)
        return pixels + strength * (torch.randn_like(pixels) + torch.randn_like(pixels[:1]))


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
