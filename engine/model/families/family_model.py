"""What the models of all families have: a config, the header of their file, and images that enter normalised and padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.model.config import FamilyConfig
from engine.model.image_batch import batch_size, image_batch

if TYPE_CHECKING:
    from engine.model.header import ModelHeader


class FamilyModel(nn.Module):
    """The model that a config describes.

    Attributes:
        config: what it was built from.
        header: what its file says of it; None where it came from none.
        backbone: see `engine.model.backbones`.
    """

    config: FamilyConfig
    header: ModelHeader | None = None
    backbone: nn.Module

    def __init__(self, config: FamilyConfig, *, backbone: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)

    def prepare(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Normalise images and pad them into one batch (B, 3, H, W), H and W multiples of 32.

        Raises:
            ArgumentError: there are none, or one is not (3, H, W).
        """
        return image_batch(images, mean=self.pixel_mean, std=self.pixel_std, step=self.config.size_divisibility)

    def padded_size(self, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Height and width of the batch that images of these heights and widths are padded to."""
        return batch_size(sizes, step=self.config.size_divisibility)

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the large parts one after the other, each of which can be computed anew in the backward pass."""
        yield from self.backbone.repeated_parts()
