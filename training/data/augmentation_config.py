"""How training crops are changed at random so that a model learns what a building is, and not these buildings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.model.config import StrictModel

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class AugmentationConfig(StrictModel):
    """Random changes of training crops.

    The published MapChallenge run is ``orientations: horizontal``, ``scale: [0.1, 2.0]``, ``colour: 0``, with ``fit`` in its
    data. Every change keeps boxes and masks on the buildings: boxes are those of what is left of the masks, and what is left of
    a building below ``DataConfig.smallest`` pixels is dropped.

    Attributes:
        orientations: ``horizontal`` mirrors half of the crops; ``eight`` turns and mirrors into all eight orientations, as
            overhead images allow; ``none`` leaves them.
        scale: range of magnification, drawn evenly; a crop that an image does not fill is filled up.
        fill: value of pixels without an image.
        colour: strength of the changes of light, colour and sharpness; 0 leaves them out.
        dark: share of crops that are made dark, as satellite imagery often is.
        haze: share of crops seen through haze.
        stretch: share of crops stretched band by band between percentiles, as imagery of 16 bits is on its way to 8.
        coarse: share of crops resampled from pixels up to 2.7 times as large.
        jpeg: share of crops stored as JPEG and read again.
        noise: share of crops with the noise of a sensor.
        perspective: share of crops seen as by a tilted camera. More ground is taken for them, so that none is filled up but
            for want of image.
        distortion: how far corners move then, as a share of the crop's side.
        lean: share of crops whose buildings lean away from an off-nadir sensor: roofs move, walls are seen, and hide ground.
        copy_paste: share of crops into which buildings of another crop are copied (arXiv 2012.07177).
        mosaic: share of crops put together of four (arXiv 2004.10934).
        mixup: share of crops blended with another one (arXiv 1710.09412), the instances of both being kept.
        sparse: share of crops taken where few buildings stand or none, so that a model learns what is no building.
    """

    orientations: Literal["none", "horizontal", "eight"] = "eight"
    scale: tuple[Positive, Positive] = (0.7, 1.4)
    fill: Annotated[int, Field(ge=0, le=255)] = 128
    colour: Annotated[float, Field(ge=0, le=3)] = 1.0
    dark: Probability = 0.0
    haze: Probability = 0.0
    stretch: Probability = 0.0
    coarse: Probability = 0.0
    jpeg: Probability = 0.0
    noise: Probability = 0.0
    perspective: Probability = 0.0
    distortion: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    lean: Probability = 0.0
    copy_paste: Probability = 0.0
    mosaic: Probability = 0.0
    mixup: Probability = 0.0
    sparse: Probability = 0.0

    @model_validator(mode="after")
    def _range(self) -> AugmentationConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: {self.scale[0]:g} to {self.scale[1]:g} is no range; give the smaller one first")
        return self
