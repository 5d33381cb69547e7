"""What a Mask DINO is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.model.config import FamilyConfig, PixelDecoderConfig, StrictModel


class DecoderConfig(StrictModel):
    """The transformer decoder and its two-stage query selection.

    ``box_initialisation`` (Mask DINO, arXiv 2206.02777, section 3.3): where the first boxes come from. "no": the
    selected proposals themselves; "mask2box" and "bitmask": the bounding box of each proposal's mask, which differ by one
    pixel on the far side and in what an empty mask gives, as in the published models.
    """

    queries: int = Field(300, ge=1)
    layers: int = Field(9, ge=1)
    feedforward: int = 2048
    heads: int = 8
    points: int = 4
    box_initialisation: Literal["no", "mask2box", "bitmask"] = "mask2box"


class MaskDinoConfig(FamilyConfig):
    """A whole Mask DINO model; by default the published COCO instance model with a ResNet-50."""

    kind: Literal["mask_dino"] = "mask_dino"
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    decoder: DecoderConfig = DecoderConfig()

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return super().layers + self.pixel_decoder.levels + self.pixel_decoder.layers + self.decoder.layers
