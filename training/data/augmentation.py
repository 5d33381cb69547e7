"""Random changes of a crop that leave its buildings what they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2


def make_augmentation(*, colour: float = 1.0) -> v2.Transform:
    """Build flips and quarter turns, and changes of light, colour and sharpness.

    Args:
        colour: strength of the changes of light and colour; 0 leaves only the eight orientations.

    Returns:
        A transform of (``tv_tensors.Image`` uint8 (3, H, W), ``tv_tensors.Mask`` (N, H, W)), square.
    """
    steps: list[nn.Module] = [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomApply([v2.RandomRotation((90, 90))]),
    ]
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
