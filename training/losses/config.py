"""What the losses are made of, with the values published for Mask DINO as defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.model.config import StrictModel

from .box_losses import BoxLoss

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class TermWeights(StrictModel):
    """Weigh the five terms against each other, in the total loss or in the matching cost.

    ``giou`` is the weight of the box overlap, whichever ``LossConfig.box_loss`` measures it.
    """

    classification: NonNegative = 4.0
    mask: NonNegative = 5.0
    dice: NonNegative = 5.0
    box: NonNegative = 5.0
    giou: NonNegative = 2.0


class DenoisingConfig(StrictModel):
    """Say whether and how noised ground truth is fed to the decoder.

    mode: ``seg`` denoises labels, boxes and masks; ``box`` labels and boxes; ``no`` nothing.
    number: denoising queries an image; there are ``number // most targets of an image`` groups of them.
    noise_scale: half of it is the chance of a wrong label; corners move by up to this share of the box's sides.
    """

    mode: Literal["no", "box", "seg"] = "seg"
    number: Annotated[int, Field(ge=0)] = 100
    noise_scale: Fraction = 0.4


class LossConfig(StrictModel):
    """Configure matcher, criterion and denoising.

    points: places at which a mask is compared, in the matching cost and in the loss.
    oversample_ratio, importance_sample_ratio: of ``points * oversample_ratio`` candidates the least certain fill
        ``importance_sample_ratio`` of the loss's points, uniformly drawn ones the rest (PointRend, arXiv:1912.08193).
    classification: ``focal`` takes logits (B, Q, C); ``cross_entropy`` takes (B, Q, C + 1), the last one for "no
        object", which weighs ``no_object_weight``. Objectives set it to what the model's logits are.
    class_cost: what the class counts in matching: ``focal`` the focal loss, ``softmax`` the probability of the target's class.
    box_loss: how the overlap of boxes is measured in the loss. None is as published: generalised IoU for Mask DINO, where the
        loss is called ``loss_giou`` in logs whatever it is; the smooth L1 distance of offsets, without any overlap, for Mask
        R-CNN. Matching keeps to generalised IoU: a cost needs no gradient, and matches stay comparable between runs.
    deep_supervision: whether the layers before the last are trained by losses of their own.
    """

    version: Literal[1] = 1
    weights: TermWeights = TermWeights()
    costs: TermWeights = TermWeights()
    points: Annotated[int, Field(ge=1)] = 12544
    oversample_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    importance_sample_ratio: Fraction = 0.75
    classification: Literal["focal", "cross_entropy"] = "focal"
    class_cost: Literal["focal", "softmax"] = "focal"
    focal_alpha: Fraction = 0.25
    focal_gamma: NonNegative = 2.0
    no_object_weight: NonNegative = 0.1
    box_loss: BoxLoss | None = None
    deep_supervision: bool = True
    denoising: DenoisingConfig = DenoisingConfig()

    @model_validator(mode="after")
    def _some_cost(self) -> LossConfig:
        if not any(self.costs.model_dump().values()):
            raise ValueError("costs: all are zero, so every match would be as good as any other; make one positive")
        return self


# Those of Mask2Former (arXiv:2112.01527, section 3.3 and appendix), which predicts no boxes and denoises nothing.
MASK2FORMER_LOSSES = LossConfig(
    weights=TermWeights(classification=2.0),
    costs=TermWeights(classification=2.0),
    classification="cross_entropy",
    class_cost="softmax",
    denoising=DenoisingConfig(mode="no"),
)
