"""Where the losses' random numbers come from: one place, so that a run can be repeated number for number."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class RandomSource(Protocol):
    """Draw what matcher, point sampling and denoising queries need, uniform in [0, 1) where nothing else is said."""

    def matching_points(self, images: int, count: int, device: torch.device) -> Tensor:
        """(images, count, 2) places, xy, at which each image's predictions and targets are compared for the matching."""
        ...

    def candidate_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        """(masks, count, 2) places, xy, from which each mask's least certain ones are chosen."""
        ...

    def uniform_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        """(masks, count, 2) places, xy, that are used whatever the prediction says there."""
        ...

    def label_chances(self, count: int, device: torch.device) -> Tensor:
        """(count,) numbers; the label of a denoising query is replaced where its number is small."""
        ...

    def replacement_labels(self, count: int, num_classes: int, device: torch.device) -> Tensor:
        """(count,) int64 in 0..num_classes - 1, the labels that replace others."""
        ...

    def box_noise(self, count: int, device: torch.device) -> Tensor:
        """(count, 4) numbers that move the boxes of denoising queries: 0.5 leaves a coordinate alone."""
        ...


class TorchRandom:
    """Draw from torch's own generators: the default one of the device, or the one given."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def matching_points(self, images: int, count: int, device: torch.device) -> Tensor:
        return self._uniform((images, count, 2), device)

    def candidate_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        return self._uniform((masks, count, 2), device)

    def uniform_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        return self._uniform((masks, count, 2), device)

    def label_chances(self, count: int, device: torch.device) -> Tensor:
        return self._uniform((count,), device)

    def replacement_labels(self, count: int, num_classes: int, device: torch.device) -> Tensor:
        return torch.randint(num_classes, (count,), generator=self.generator, device=device)

    def box_noise(self, count: int, device: torch.device) -> Tensor:
        return self._uniform((count, 4), device)

    def _uniform(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=device)
