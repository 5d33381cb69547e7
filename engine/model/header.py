"""What a model file says about itself: the contract between a model, its rasters and the people who choose a model."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from engine.errors import ConfigError, ModelFileError
from engine.model.config import AnyModelConfig, StrictModel, parse_model_config

FORMAT_VERSION = 1

EIGHT_BIT_DISPLAY = (
    "0..255 as displayed: 8 bit values as they are, 16 bit and float values stretched by percentiles of the whole raster"
)

# A figure that came out as NaN (no building in the validation area, say) is an unknown one; it must not cost a training
# run its model at the moment of saving.
Figure = Annotated[
    float | None,
    BeforeValidator(lambda value: None if isinstance(value, float) and not math.isfinite(value) else value),
]


class DataSource(StrictModel):
    """One data set that a model was trained on."""

    name: str
    licence: str
    attribution: str | None = None
    images: int | None = Field(None, ge=0)


class TrainingRecord(StrictModel):
    """Who trained the model, on what, for how long, and what it reached there.

    ``figures`` by name ("AP50", "F1"), measured on ``evaluated_on``.
    """

    trained_by: str
    data: tuple[DataSource, ...] = ()
    started_from: str | None = None
    finished: str | None = Field(None, pattern=r"^\d{4}-\d\d-\d\d")
    hours: Figure = None
    steps: int | None = Field(None, ge=0)
    device: str | None = None
    figures: dict[str, Figure] = Field(default_factory=dict)
    evaluated_on: str | None = None


class ModelHeader(StrictModel):
    """The header of a model file.

    Attributes:
        config: the whole model, pixel mean and standard deviation included.
        classes: a name for each class of the config.
        bands: what each input band shows, in order.
        values: what the input's 0..255 mean.
        gsd: ground sampling distance that the model was trained at, in metres a pixel; None where there was no one
            distance: rasters are then taken at their own.
        tile_size: side of the square tiles to cut, in pixels.
        limits: what the model is not good for.
    """

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    description: str = ""
    licence: str | None = None
    config: AnyModelConfig
    classes: tuple[str, ...] = ("building",)
    bands: tuple[str, ...] = ("red", "green", "blue")
    values: str = EIGHT_BIT_DISPLAY
    gsd: float | None = Field(None, gt=0, allow_inf_nan=False)
    tile_size: int = Field(512, ge=32, le=8192)
    training: TrainingRecord | None = None
    limits: str = ""

    @model_validator(mode="after")
    def _counts_agree(self) -> ModelHeader:
        if len(self.classes) != self.config.num_classes:
            raise ValueError(f"{len(self.classes)} class names for {self.config.num_classes} classes")
        if len(self.bands) != len(self.config.pixel_mean):
            raise ValueError(f"{len(self.bands)} bands for {len(self.config.pixel_mean)} pixel means")
        return self

    def to_json(self) -> str:
        return self.model_dump_json()


def parse_header(document: Any) -> ModelHeader:
    """Make a header of the JSON document in a model file.

    Raises:
        ModelFileError: naming each key that is unknown or out of range, or the version that is not known here.
    """
    if not isinstance(document, dict):
        raise ModelFileError("its header is not a JSON object.")
    version = document.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ModelFileError(
            f"its format version is {str(version)[:40]!r}; this program knows {FORMAT_VERSION}.",
            hint="Update this program, or convert the model again.",
        )
    try:
        if isinstance(document.get("config"), dict):
            document = {**document, "config": parse_model_config(document["config"])}
        return ModelHeader.model_validate(document)
    except ConfigError as error:
        raise ModelFileError(error.message) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'header'}: {e['msg']}" for e in error.errors()[:8])
        raise ModelFileError(f"its header does not hold: {faults}.") from error
