"""What a Mask2Former is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from engine.model.config import BackboneConfig, DinatConfig, PixelDecoderConfig, SegmentationConfig, StrictModel


class MaskedDecoderConfig(StrictModel):
    """The transformer decoder, whose learned queries attend to one level of the pixel decoder after the other."""

    queries: int = Field(200, ge=1)
    layers: int = Field(9, ge=1)
    feedforward: PositiveInt = 2048
    heads: PositiveInt = 8


class Mask2FormerConfig(SegmentationConfig):
    """A whole Mask2Former; by default the one with DiNAT-L that was trained on COCO's instances.

    ``pixel_decoder``: the decoder's layers attend to its levels in their order, again and again.
    """

    kind: Literal["mask2former"] = "mask2former"
    backbone: BackboneConfig = DinatConfig()
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig(features=("res5", "res4", "res3"), levels=3, feedforward=1024)
    decoder: MaskedDecoderConfig = MaskedDecoderConfig()

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return super().layers + self.pixel_decoder.levels + self.pixel_decoder.layers + self.decoder.layers
