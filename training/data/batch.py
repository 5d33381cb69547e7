"""A training batch on its way from the processes that draw crops to the device that learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.losses.target import Target


@dataclass(frozen=True, eq=False)
class Batch:
    """Images, and the targets of all of them in a few tensors.

    Masks travel as bits, eight pixels to a byte: of a batch of dense crops they are ten times as much as its images, and each
    byte is written, pinned and copied on the way. Few large tensors travel faster than many small ones, too.

    Attributes:
        images: (B, 3, H, W) uint8.
        labels, boxes: (M,) int64 and (M, 4) of all instances, one image after the other, see ``Target``.
        masks: (M, H, ceil(W / 8)) uint8.
        regions: (R, 2, H, ceil(W / 8)) uint8, ignored and merged ground of the images that have any.
        counts: (B,) int64 on the CPU, instances of each image.
        region_of: (B,) int64 on the CPU, which of the R each image's is, -1 for none.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor
    masks: Tensor
    regions: Tensor
    counts: Tensor
    region_of: Tensor

    @property
    def targets(self) -> list[Target]:
        """The target of each image, on the device of the batch."""
        width = self.images.shape[-1]
        masks, regions = _unpacked(self.masks, width), _unpacked(self.regions, width)
        targets, start = [], 0
        for count, region in zip(self.counts.tolist(), self.region_of.tolist(), strict=True):
            own = slice(start, start + count)
            ground = (None, None) if region < 0 else (regions[region, 0], regions[region, 1])
            targets.append(Target(self.labels[own], self.boxes[own], masks[own], *ground))
            start += count
        return targets

    def pin_memory(self) -> Batch:
        """Move to memory from which a GPU copies by itself."""
        return Batch(**{name: tensor.pin_memory() for name, tensor in self._tensors()})

    def to(self, device: torch.device | str, **how: Any) -> Batch:
        """Copy to a device, without waiting for the copy where the memory is pinned."""
        stay = ("counts", "region_of")
        return Batch(**{n: tensor if n in stay else tensor.to(device, non_blocking=True) for n, tensor in self._tensors()})

    def _tensors(self) -> list[tuple[str, Tensor]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def collate(samples: Sequence[tuple[Tensor, Target]]) -> Batch:
    """Put images (3, H, W) uint8 of one size and their targets together to a batch."""
    images, targets = zip(*samples, strict=True)
    height, width = images[0].shape[-2:]
    grounds = [torch.stack([t.ignored, _or_nowhere(t.merged, t.ignored)]) for t in targets if t.ignored is not None]
    has_ground = torch.tensor([target.ignored is not None for target in targets])
    return Batch(
        images=torch.stack(images),
        labels=torch.cat([target.labels for target in targets]),
        boxes=torch.cat([target.boxes for target in targets]),
        masks=torch.cat([_packed(target.masks) for target in targets]),
        regions=_packed(torch.stack(grounds) if grounds else torch.zeros((0, 2, height, width), dtype=torch.bool)),
        counts=torch.tensor([len(target) for target in targets]),
        region_of=torch.where(has_ground, has_ground.cumsum(0) - 1, -1),
    )


def _or_nowhere(merged: Tensor | None, ignored: Tensor) -> Tensor:
    return torch.zeros_like(ignored) if merged is None else merged


def _packed(masks: Tensor) -> Tensor:
    """Turn (..., W) bool into bits, (..., ceil(W / 8)) uint8."""
    return torch.from_numpy(np.packbits(masks.numpy(), axis=-1))


def _unpacked(bits: Tensor, width: int) -> Tensor:
    """Turn bits back into (..., W) bool."""
    places = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    return (bits[..., None] & places).bool().flatten(-2)[..., :width]
