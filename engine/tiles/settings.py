"""What a person can set for any work on the tiles of a raster, checked before it begins."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.errors import ArgumentError

AnySettings = TypeVar("AnySettings", bound="TileSettings")


class TileSettings(BaseModel):
    """Settings of the reading of a raster's tiles and of the model that sees them; the names are those of the command line.

    Attributes:
        aoi: a vector file; work inside its polygons alone.
        extent: xmin, ymin, xmax, ymax in the raster's CRS; work inside alone.
        bands: numbers of the bands to use, counted from 1; None chooses by colour interpretation.
        gsd: metres per pixel to work at; None takes what the model was trained at.
        classes: names of the model's classes, upper and lower case aside; the others are left out. None takes all.
        precision: of the model's products: ``float32``, ``bfloat16``, or ``auto``, which takes bfloat16 where the device is
            faster at it.
        on_damage: whether a block of the raster that cannot be decoded ends the run (``fail``), or is taken for no data and
            named in the log (``skip``).
        local_only: refuse a raster that reads from the network or from outside its own folder, such as a VRT from a stranger.
        batch_size: tiles per call of the model; None takes what suits the device.
        workers: threads that read tiles, and as many for each kind of work on what the model gives; None takes one where the
            model computes on the CPU, which it keeps busy by itself, else one per core, at most eight.
        overlap: pixels shared by neighbouring tiles; None takes a quarter of a tile, at least 64 pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    aoi: str | None = None
    extent: tuple[float, float, float, float] | None = None
    bands: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None = None
    gsd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    on_damage: Literal["fail", "skip"] = "fail"
    local_only: bool = False
    batch_size: Annotated[int, Field(ge=1)] | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    overlap: Annotated[int, Field(ge=0)] | None = None

    @classmethod
    def checked(cls: type[AnySettings], **given: Any) -> AnySettings:
        """Make settings.

        Raises:
            ArgumentError: a value has the wrong type or is out of range; the message names all of them.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise ArgumentError("; ".join(_sentence(problem) for problem in error.errors()) + ".") from error

    @field_validator("aoi", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return value if value is None else str(value)

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",")]
        if not all(names):
            raise ValueError("it should be names of classes with commas between them, such as car,truck")
        return names

    @field_validator("bands", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        words = value.split(",")
        if not all(word.strip().isdecimal() for word in words):
            raise ValueError("it should be numbers of bands, counted from 1, such as 1,2,3")
        return words

    @model_validator(mode="after")
    def _one_area(self) -> TileSettings:
        if self.aoi is not None and self.extent is not None:
            raise ValueError("give aoi or extent, not both")
        return self

    def tile_overlap(self, tile_size: int) -> int:
        """Return the pixels that neighbouring tiles of this size share."""
        return min(max(64, tile_size // 4), tile_size // 2) if self.overlap is None else self.overlap


def _sentence(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{name} is {problem['input']!r}: {message}" if name else message
