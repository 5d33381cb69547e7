"""What a Mask2Former is made of."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from engine.model.config import (
    AnyPixelDecoderConfig,
    BackboneConfig,
    ComponentConfig,
    DinatConfig,
    PixelDecoderConfig,
    SegmentationConfig,
    StrictModel,
    built_in_or,
)


class MaskedDecoderConfig(StrictModel):
    """The transformer decoder, whose learned queries attend to one level of the pixel decoder after the other."""

    queries: int = Field(200, ge=1)
    layers: int = Field(9, ge=1)
    feedforward: PositiveInt = 2048
    heads: PositiveInt = 8


class MaskedDecoderComponent(ComponentConfig):
    """A transformer decoder of another package, with its queries."""

    group: ClassVar[str] = "maskdino.masked_decoders"

    queries: int = Field(200, ge=1)


class Mask2FormerConfig(SegmentationConfig):
    """A whole Mask2Former; by default the one with DiNAT-L that was trained on COCO's instances.

    ``pixel_decoder``: the decoder's layers attend to its levels in their order, again and again.
    """

    kind: Literal["mask2former"] = "mask2former"
    backbone: BackboneConfig = DinatConfig()
    pixel_decoder: AnyPixelDecoderConfig = PixelDecoderConfig(features=("res5", "res4", "res3"), levels=3, feedforward=1024)
    decoder: Annotated[
        MaskedDecoderConfig | MaskedDecoderComponent, built_in_or(MaskedDecoderComponent, MaskedDecoderConfig)
    ] = MaskedDecoderConfig()

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return super().layers + self.pixel_decoder.levels + self.pixel_decoder.layers + self.decoder.layers
