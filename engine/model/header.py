"""What a model file says about itself: the contract between a model, its rasters and the people who choose a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from engine.errors import ConfigError, ModelFileError
from engine.model.config import StrictModel
from engine.model.families.registry import AnyModelConfig, parse_model_config

FORMAT_VERSION = 1

EIGHT_BIT_DISPLAY = (
    "0..255 as displayed: 8 bit values as they are, 16 bit and float values stretched by percentiles of the whole raster"
)

_LARGEST = {  # of those that cost memory or time without a tensor of the file that could be compared
    "size_divisibility": 256, "queries": 10_000, "first_queries": 10_000, "guiding_tokens": 10_000, "points": 64, "levels": 16,
    "window_size": 64, "detections_per_image": 100_000, "num_points": 1_000_000, "mlp_ratio": 64, "drop_path": 1,
}  # fmt: skip
_LAYER_BYTES = 1024  # of the smallest layer that makes sense
_LAYERS = {"layers", "interaction_layers", "depths", "depth"}

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
        gsd: ground sampling distance that the model was trained at, in metres per pixel; None where there was no one
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


def check_bounds(header: ModelHeader, file_bytes: int) -> None:
    """Refuse a header whose numbers no honest file of that size has.

    Raises:
        ModelFileError: it names the number.
    """
    document = header.config.model_dump()
    for name, value in (*_numbers(document), ("tile_size", header.tile_size)):
        key = name.rpartition(".")[2]
        most = file_bytes / _LAYER_BYTES if key in _LAYERS else _LARGEST.get(key, file_bytes)
        if not (math.isfinite(value) and abs(value) <= most):
            raise ModelFileError(f"its {name} is {value:.6g}; in a file of {file_bytes:,} bytes it is at most {most:,.0f}.")
    for name in ("size_divisibility", "pixel_std"):
        values = document.get(name, 1)
        if min(values if isinstance(values, (list, tuple)) else [values]) <= 0:
            raise ModelFileError(f"its {name} is {values}; it has to be positive.")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a config with its dotted name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers(inner, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value
