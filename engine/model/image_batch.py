"""Images as a network takes them: normalised, then padded into one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.errors import ArgumentError


def image_batch(images: Tensor | Sequence[Tensor], *, mean: Tensor, std: Tensor, step: int) -> Tensor:
    """Normalise images and pad them with zeros at the right and bottom.

    Args:
        images: (B, 3, H, W) RGB in 0..255, or a list of (3, H, W) of any sizes.
        mean, std: (3, 1, 1); their type and device are those of the batch.
        step: what height and width of the batch are to be multiples of.

    Returns:
        (B, 3, H, W), as large as the largest image.

    Raises:
        ArgumentError: there are none, or one is not (3, H, W).
    """
    shapes = {tuple(image.shape[:-2]) for image in images}
    if shapes != {(3,)}:  # anything else would be spread over the three bands without a word
        what = " and ".join(str(tuple(image.shape)) for image in list(images)[:3]) or "none"
        raise ArgumentError(f"The model was given images of shape {what}.", hint="Give (B, 3, H, W), or a list of (3, H, W).")
    sizes = [tuple(image.shape[-2:]) for image in images]
    height, width = batch_size(sizes, step=step)
    if isinstance(images, Tensor):
        missing = (0, width - images.shape[-1], 0, height - images.shape[-2])
        return F.pad((images.to(mean) - mean) / std, missing)
    padded = [
        F.pad((image.to(mean) - mean) / std, (0, width - w, 0, height - h)) for image, (h, w) in zip(images, sizes, strict=True)
    ]
    return torch.stack(padded)


def batch_size(sizes: Sequence[tuple[int, int]], *, step: int) -> tuple[int, int]:
    """Height and width of the batch that images of these heights and widths are padded to."""
    height, width = (-(-max(size[axis] for size in sizes) // step) * step for axis in (0, 1))
    return height, width
