"""What a Mask R-CNN is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt, model_validator

from engine.model.config import BackboneConfig, FamilyConfig, ResNetConfig


class MaskRcnnConfig(FamilyConfig):
    """A whole Mask R-CNN, the baseline, in the form of torchvision's second version.

    ``hidden_dim``: channels of the feature pyramid and of the convolutions in the heads. ``box_features``: width of the layer
    that boxes are classified from. ``anchor_sizes``: sides of the first boxes in pixels, one for each level of the pyramid
    (strides 4 to 64); the size from which on a box is looked at in a coarser level goes with the smallest.
    """

    kind: Literal["mask_rcnn"] = "mask_rcnn"
    backbone: BackboneConfig = ResNetConfig(norm="batch")
    box_features: int = 1024
    anchor_sizes: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 128, 256, 512)

    @model_validator(mode="after")
    def _anchors_rise(self) -> MaskRcnnConfig:
        if list(self.anchor_sizes) != sorted(self.anchor_sizes):
            raise ValueError(f"anchor_sizes {self.anchor_sizes} do not rise from the finest level to the coarsest")
        return self
