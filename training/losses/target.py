"""The ground truth of one image, as the losses take it."""

from __future__ import annotations

from collections.abc import Callable
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
    ignored: (H, W) bool, ground on which instances are not judged: crowds, regions marked "ignore", and buildings
        that are drawn as one though they are several. None means nowhere.
    merged: (H, W) bool, the part of ``ignored`` that is known to be roof although its instances are not. None means nowhere.

    Raises:
        ArgumentError: the first three do not count the same instances, or something has another shape.
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor
    ignored: Tensor | None = None
    merged: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.labels.shape != (count,) or self.boxes.shape != (count, 4) or self.masks.shape[:-2] != (count,):
            raise ArgumentError(
                "A target's labels, boxes and masks must have the shapes (N,), (N, 4) and (N, H, W), but have "
                f"{tuple(self.labels.shape)}, {tuple(self.boxes.shape)} and {tuple(self.masks.shape)}."
            )
        size = self.masks.shape[-2:]
        for name in ("ignored", "merged"):
            ground = getattr(self, name)
            if ground is not None and ground.shape != size:
                raise ArgumentError(
                    f"A target's {name} ground is {tuple(ground.shape)}, but its masks are {size[0]}x{size[1]} pixels.",
                    hint="Give one value per pixel, or None where there is no such ground.",
                )
        if self.merged is not None and self.ignored is None:
            raise ArgumentError(
                "A target has merged ground, but no ignored ground that it is a part of.",
                hint="Give all ground whose instances are not known as ignored, and the roofs in it as merged too.",
            )

    @classmethod
    def from_pixels(
        cls, labels: Tensor, boxes: Tensor, masks: Tensor, *, ignored: Tensor | None = None, merged: Tensor | None = None
    ) -> Target:
        """Build a target from boxes in pixels.

        The model's boxes are shares of the padded image. Official Mask DINO divides the annotated ones by the size of
        the image before padding; the two agree where images are padded (or cropped) to a multiple of 32 and to one size
        before they come here. Do that in training; hand in unpadded masks only to reproduce published figures.

        Args:
            labels: (N,) int64.
            boxes: (N, 4) float, xyxy in pixels, the maximum exclusive.
            masks: (N, H, W) bool; H and W are what the boxes are divided by.
            ignored, merged: (H, W) bool or None, as in the class.
        """
        height, width = masks.shape[-2:]
        low, high = boxes[:, :2], boxes[:, 2:]
        size = boxes.new_tensor([width, height, width, height])
        return cls(labels, torch.cat([(low + high) / 2, high - low], dim=1) / size, masks, ignored, merged)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Target:
        """Copy to a device, without waiting for the copy where the memory is pinned."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Target:
        """Copy to pinned memory, from where a GPU fetches while the program goes on; data loaders call it."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def padded(self, height: int, width: int) -> Target:
        """Pad masks and ground to the right and below, as the model pads its images; boxes stay as they are.

        The padding is empty ground on which instances are judged.

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

        def pad(ground: Tensor | None) -> Tensor | None:
            return None if ground is None else F.pad(ground, (0, missing_columns, 0, missing_rows))

        return Target(self.labels, self.boxes, pad(self.masks), pad(self.ignored), pad(self.merged))

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Target:
        tensors = (self.labels, self.boxes, self.masks, self.ignored, self.merged)
        return Target(*(None if tensor is None else change(tensor) for tensor in tensors))
