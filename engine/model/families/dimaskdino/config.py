"""What a DI-MaskDINO is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from engine.model.config import AnyPixelDecoderConfig, PixelDecoderConfig, SegmentationConfig, StrictModel


class BalancedDecoderConfig(StrictModel):
    """The double selection of queries and the transformer decoder.

    ``first_queries``: positions of the encoder's memory that are selected first and interact in ``interaction_layers``; of
    these ``queries`` are selected for the decoder. ``guiding_tokens``: queries that optimise the memory before the decoder's
    second layer. ``box_initialisation``: as in Mask DINO.
    """

    first_queries: int = Field(600, ge=1)
    interaction_layers: int = Field(2, ge=1)
    queries: int = Field(300, ge=1)
    guiding_tokens: int = Field(50, ge=1)
    layers: int = Field(6, ge=2)
    feedforward: PositiveInt = 2048
    heads: PositiveInt = 8
    points: PositiveInt = 4
    box_initialisation: Literal["no", "mask2box", "bitmask"] = "mask2box"

    @model_validator(mode="after")
    def _each_selection_is_of_the_one_before(self) -> BalancedDecoderConfig:
        if not self.first_queries >= self.queries >= self.guiding_tokens:
            raise ValueError(
                f"{self.guiding_tokens} guiding tokens cannot be among {self.queries} queries, or these among "
                f"{self.first_queries} first queries"
            )
        return self


class DiMaskDinoConfig(SegmentationConfig):
    """A whole DI-MaskDINO; by default the published one, with a ResNet-50 for COCO's instances."""

    kind: Literal["di_mask_dino"] = "di_mask_dino"
    task: Literal["instance"] = "instance"
    pixel_decoder: AnyPixelDecoderConfig = PixelDecoderConfig()
    decoder: BalancedDecoderConfig = BalancedDecoderConfig()

    @model_validator(mode="after")
    def _masks_and_memory_are_of_one_width(self) -> DiMaskDinoConfig:
        if self.pixel_decoder.mask_dim != self.hidden_dim:
            raise ValueError(
                f"pixel_decoder.mask_dim is {self.pixel_decoder.mask_dim} and hidden_dim {self.hidden_dim}: the embeddings of "
                "masks guide the memory, so both have to be the same"
            )
        return self

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        pixel_decoder, decoder = self.pixel_decoder, self.decoder
        return super().layers + pixel_decoder.levels + pixel_decoder.layers + decoder.interaction_layers + decoder.layers
