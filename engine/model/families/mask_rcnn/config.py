"""What a Mask R-CNN is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from engine.model.config import BackboneConfig, FamilyConfig, ResNetConfig, StrictModel


class FpnConfig(StrictModel):
    """A feature pyramid network (arXiv 1612.03144), that of the published model."""

    kind: Literal["fpn"] = "fpn"


class PanetConfig(StrictModel):
    """A feature pyramid with PANet's bottom-up path (arXiv 1803.01534)."""

    kind: Literal["panet"] = "panet"


class BifpnConfig(StrictModel):
    """A weighted bidirectional feature pyramid (arXiv 1911.09070).

    ``layers``: how often it goes down the pyramid and up again; EfficientDet has 3 in its smallest model, 8 in its largest.
    """

    kind: Literal["bifpn"] = "bifpn"
    layers: int = Field(3, ge=1)


NeckConfig = Annotated[FpnConfig | PanetConfig | BifpnConfig, Field(discriminator="kind")]


def _by_kind(neck: Any) -> Any:
    """Let the kind alone stand for a neck."""
    return {"kind": neck} if isinstance(neck, str) else neck


class MaskRcnnConfig(FamilyConfig):
    """A whole Mask R-CNN, the baseline, in the form of torchvision's second version.

    ``neck``: what makes a pyramid of the backbone's maps, or its kind alone. ``hidden_dim``: channels of the pyramid and of the
    convolutions in the heads. ``box_features``: width of the layer that boxes are classified from.
    ``anchor_sizes``: sides of the first boxes in pixels, one for each level of the pyramid (strides 4 to 64); the size from
    which on a box is looked at in a coarser level goes with the smallest.
    """

    kind: Literal["mask_rcnn"] = "mask_rcnn"
    backbone: BackboneConfig = ResNetConfig(norm="batch")
    neck: Annotated[NeckConfig, BeforeValidator(_by_kind)] = FpnConfig()
    box_features: int = 1024
    anchor_sizes: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 128, 256, 512)

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return self.backbone.layers + (self.neck.layers if isinstance(self.neck, BifpnConfig) else 0)

    @model_validator(mode="after")
    def _anchors_rise(self) -> MaskRcnnConfig:
        if list(self.anchor_sizes) != sorted(self.anchor_sizes):
            raise ValueError(f"anchor_sizes {self.anchor_sizes} do not rise from the finest level to the coarsest")
        return self
