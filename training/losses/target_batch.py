"""The targets of a batch as tensors of the whole batch, so that no kernel has to be started per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from engine.model.host_transfer import indices_to_device

from .point_sampling import MaskSampler
from .target import Target


@dataclass(eq=False)
class TargetBatch:
    """Hold the T instances of B images, those of one image after those of the other.

    labels: (T,) int64, class indices.
    boxes: (T, 4) float, cxcywh in 0..1.
    masks: (T, H, W) bool.
    ignored, merged: (B, H, W) bool, as in ``Target``; None where no image has such ground.
    counts: how many instances each image has.
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor
    ignored: Tensor | None
    merged: Tensor | None
    counts: list[int]

    @classmethod
    def of(cls, targets: Sequence[Target], *, size: tuple[int, int] | None = None) -> TargetBatch:
        """Join targets that are padded to a height and width; by default they are of one size.

        Raises:
            ArgumentError: a target is larger than that.
        """
        if size is not None:
            targets = [target.padded(*size) for target in targets]
        labels, boxes, masks = (torch.cat([getattr(t, name) for t in targets]) for name in ("labels", "boxes", "masks"))
        ignored, merged = (_stacked([getattr(t, name) for t in targets]) for name in ("ignored", "merged"))
        return cls(labels, boxes, masks, ignored, merged, [len(target) for target in targets])

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def image(self) -> Tensor:
        """Which image each instance belongs to: (T,) int64."""
        return indices_to_device(np.repeat(np.arange(len(self.counts)), self.counts), self.labels.device)

    @cached_property
    def slots(self) -> Tensor:
        """Which instances each image has: (B, S) int64, S the most of an image; slots that are left over hold instance 0."""
        counts = np.array(self.counts, dtype=np.int64)[:, None]
        slot = np.arange(max(self.counts, default=0))
        first = counts.cumsum(0) - counts
        return indices_to_device(np.where(slot < counts, first + slot, 0), self.labels.device)

    @cached_property
    def sampler(self) -> MaskSampler:
        """The masks, ready to be sampled."""
        return MaskSampler(self.masks)


def _stacked(grounds: Sequence[Tensor | None]) -> Tensor | None:
    known = next((ground for ground in grounds if ground is not None), None)
    if known is None:
        return None
    nowhere = torch.zeros_like(known)
    return torch.stack([nowhere if ground is None else ground for ground in grounds])
