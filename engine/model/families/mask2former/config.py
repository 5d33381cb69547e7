"""What a Mask2Former is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from engine.model.config import BackboneConfig, DinatConfig, PixelDecoderConfig, StrictModel


class MaskedDecoderConfig(StrictModel):
    """The transformer decoder, whose learned queries attend to one level of the pixel decoder after the other."""

    queries: int = Field(200, ge=1)
    layers: int = Field(9, ge=1)
    feedforward: PositiveInt = 2048
    heads: PositiveInt = 8


class Mask2FormerConfig(StrictModel):
    """A whole Mask2Former; by default the one with DiNAT-L that was trained on COCO's instances.

    ``pixel_decoder``: the decoder's layers attend to its levels in their order, again and again.
    ``task``: what the classes stand for. ``things``: the classes of a panoptic model that have instances; the others are stuff.
    """

    kind: Literal["mask2former"] = "mask2former"
    num_classes: int = Field(80, ge=1)
    task: Literal["instance", "panoptic", "semantic"] = "instance"
    things: tuple[NonNegativeInt, ...] = ()
    backbone: BackboneConfig = DinatConfig()
    hidden_dim: PositiveInt = 256
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig(features=("res5", "res4", "res3"), levels=3, feedforward=1024)
    decoder: MaskedDecoderConfig = MaskedDecoderConfig()
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    size_divisibility: int = 32
    detections_per_image: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _only_panoptic_models_have_things(self) -> Mask2FormerConfig:
        if self.things and self.task != "panoptic":
            raise ValueError(f"things are named, which a model for the task {self.task!r} does not tell apart")
        return self

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return self.backbone.layers + self.pixel_decoder.levels + self.pixel_decoder.layers + self.decoder.layers
