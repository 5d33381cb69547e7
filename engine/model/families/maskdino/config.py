"""What a Mask DINO is made of."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from engine.model.config import (
    AnyPixelDecoderConfig,
    Classification,
    ComponentConfig,
    PixelDecoderConfig,
    SegmentationConfig,
    StrictModel,
    built_in_or,
)


class QueriesConfig(StrictModel):
    """The queries that enter the transformer decoder.

    ``two_stage``: whether the queries are selected from the encoder's memory, or learned and the same for every image.
    ``box_initialisation`` (Mask DINO, arXiv 2206.02777, section 3.3): where the first boxes come from. "no": the
    selected proposals themselves, or what was learned; "mask2box" and "bitmask": the bounding box of each proposal's mask,
    which differ by one pixel on the far side and in what an empty mask gives, as in the published models.
    """

    queries: int = Field(300, ge=1)
    two_stage: bool = True
    box_initialisation: Literal["no", "mask2box", "bitmask"] = "mask2box"

    @model_validator(mode="after")
    def _learned_queries_have_learned_boxes(self) -> QueriesConfig:
        if not self.two_stage and self.box_initialisation != "no":
            raise ValueError(
                f"box_initialisation is {self.box_initialisation!r}, and without two_stage there are no proposals whose masks "
                "boxes could come from; make it 'no'"
            )
        return self


class DecoderConfig(QueriesConfig):
    """The transformer decoder and its queries."""

    layers: int = Field(9, ge=1)
    feedforward: int = 2048
    heads: int = 8
    points: int = 4


class DecoderComponent(QueriesConfig, ComponentConfig):
    """A transformer decoder of another package; its queries are selected or learned as for ours."""

    group: ClassVar[str] = "maskdino.transformer_decoders"


class MaskDinoConfig(SegmentationConfig):
    """A whole Mask DINO model; by default the published COCO instance model with a ResNet-50.

    The order of ``pixel_decoder.features`` is that of the levels: coarsest first is what official configs call high2low.
    ``classification``: a softmax with no object, trained by cross-entropy, is for semantic segmentation alone.
    ``panoptic_temperature``: divides sigmoid probabilities before a softmax lets the classes compete for pixels, in semantic
    scores and panoptic segments (official ``PANO_TEMPERATURE``).
    """

    kind: Literal["mask_dino"] = "mask_dino"
    classification: Classification = "sigmoid"
    panoptic_temperature: float = Field(0.06, gt=0, allow_inf_nan=False)
    pixel_decoder: AnyPixelDecoderConfig = PixelDecoderConfig()
    decoder: Annotated[DecoderConfig | DecoderComponent, built_in_or(DecoderComponent, DecoderConfig)] = DecoderConfig()

    @model_validator(mode="after")
    def _softmax_is_for_semantic_models(self) -> MaskDinoConfig:
        if self.classification == "softmax" and self.task != "semantic":
            raise ValueError(
                f"classification is 'softmax', which a model for the task {self.task!r} cannot have: make it 'sigmoid', or the "
                "task 'semantic'"
            )
        return self

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return super().layers + self.pixel_decoder.levels + self.pixel_decoder.layers + self.decoder.layers
