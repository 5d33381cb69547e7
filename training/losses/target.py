"""The ground truth of one image, as the losses take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.errors import ArgumentError


@dataclass(eq=False)
class Target:
    """Hold the annotated instances of one image.

    labels: (N,) int64, class indices.
    boxes: (N, 4) float, cxcywh in 0..1.
    masks: (N, H, W) bool, at the resolution of the image that the model is given.

    Raises:
        ArgumentError: the three do not count the same instances, or have another shape.
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.labels.shape != (count,) or self.boxes.shape != (count, 4) or self.masks.shape[:-2] != (count,):
            raise ArgumentError(
                "A target's labels, boxes and masks must have the shapes (N,), (N, 4) and (N, H, W), but have "
                f"{tuple(self.labels.shape)}, {tuple(self.boxes.shape)} and {tuple(self.masks.shape)}."
            )

    @classmethod
    def joined(cls, targets: Sequence[Target]) -> Target:
        """Put the instances of several images, masks of one size, one after the other."""
        return cls(*(torch.cat([getattr(t, name) for t in targets]) for name in ("labels", "boxes", "masks")))

    @classmethod
    def from_pixels(cls, labels: Tensor, boxes: Tensor, masks: Tensor) -> Target:
        """Build a target from boxes in pixels.

        The model's boxes are shares of the padded image. Official Mask DINO divides the annotated ones by the size of
        the image before padding; the two agree where images are padded (or cropped) to a multiple of 32 and to one size
        before they come here. Do that in training; hand in unpadded masks only to reproduce published figures.

        Args:
            labels: (N,) int64.
            boxes: (N, 4) float, xyxy in pixels, the maximum exclusive.
            masks: (N, H, W) bool; H and W are what the boxes are divided by.
        """
        height, width = masks.shape[-2:]
        low, high = boxes[:, :2], boxes[:, 2:]
        size = boxes.new_tensor([width, height, width, height])
        return cls(labels, torch.cat([(low + high) / 2, high - low], dim=1) / size, masks)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Target:
        """Copy to a device, without waiting for the copy where the memory is pinned."""
        return Target(*(tensor.to(device, non_blocking=True) for tensor in (self.labels, self.boxes, self.masks)))

    def padded(self, height: int, width: int) -> Target:
        """Pad the masks to the right and below, as the model pads its images; boxes stay as they are.

        Raises:
            ArgumentError: the masks are larger than that.
        """
        missing_rows, missing_columns = height - self.masks.shape[-2], width - self.masks.shape[-1]
        if missing_rows < 0 or missing_columns < 0:
            raise ArgumentError(
                f"A target's masks are {self.masks.shape[-2]}x{self.masks.shape[-1]} pixels, more than the "
                f"{height}x{width} of the model's padded image.",
                hint="Give targets at the resolution of the images that went into the model.",
            )
        if missing_rows == missing_columns == 0:
            return self
        return Target(self.labels, self.boxes, F.pad(self.masks, (0, missing_columns, 0, missing_rows)))
