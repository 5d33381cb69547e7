"""What a person can set for a detection, checked before any work begins."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.errors import ArgumentError


class Settings(BaseModel):
    """The settings of one detection; the names are those of the command line.

    Attributes:
        aoi: a vector file; detect inside its polygons alone.
        extent: xmin, ymin, xmax, ymax in the raster's CRS; detect inside alone.
        bands: numbers of the bands to use, counted from 1; None chooses by colour interpretation.
        gsd: metres per pixel to detect at; None takes what the model was trained at.
        score: instances of a lower score are left out.
        classes: names of the model's classes, upper and lower case aside; objects of other classes are left out before
            anything else is made of them. None takes all.
        min_area: polygons smaller than this, in square metres of true ground, are left out. None leaves out what is
            smaller than 12 pixels, too few to tell, and of a model that finds buildings alone what is smaller than 4 m2,
            which is a shed.
        outline: ``regular``, ``simplified`` or ``raw``.
        precision: of the model's products: ``float32``, ``bfloat16``, or ``auto``, which takes bfloat16 where the device is
            faster at it.
        deterministic: compute in float32, with one thread and one tile at a time whatever else is asked for, so that threads,
            workers and batches change no bit of the result on one machine.
        compile: compile the model first, with torch.compile; docs/performance.md says what it gains.
        on_damage: whether a block of the raster that cannot be decoded ends the run (``fail``), or is taken for no data and
            named in the log (``skip``).
        local_only: refuse a raster that reads from the network or from outside its own folder, such as a VRT from a stranger.
        batch_size: tiles per call of the model; None takes what suits the device.
        workers: threads that read tiles, and as many that crop what was found and that draw outlines; None takes one where the
            model computes on the CPU, which it keeps busy by itself, else one per core, at most eight.
        overlap: pixels shared by neighbouring tiles; None takes a quarter of a tile, at least 64 pixels. A building
            shorter than the overlap is whole in one tile at least; longer ones are joined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    aoi: str | None = None
    extent: tuple[float, float, float, float] | None = None
    bands: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None = None
    gsd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    score: Annotated[float, Field(ge=0, le=1)] = 0.5
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    min_area: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    outline: Literal["regular", "simplified", "raw"] = "regular"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    deterministic: bool = False
    compile: bool = False
    on_damage: Literal["fail", "skip"] = "fail"
    local_only: bool = False
    batch_size: Annotated[int, Field(ge=1)] | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    overlap: Annotated[int, Field(ge=0)] | None = None

    @classmethod
    def checked(cls, **given: Any) -> Settings:
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
    def _one_area(self) -> Settings:
        if self.aoi is not None and self.extent is not None:
            raise ValueError("give aoi or extent, not both")
        return self

    @model_validator(mode="after")
    def _one_way_to_compute(self) -> Settings:
        if self.deterministic and (self.compile or self.precision == "bfloat16"):
            raise ValueError("deterministic goes neither with compile nor with bfloat16: leave those out")
        return self

    def tile_overlap(self, tile_size: int) -> int:
        """Return the pixels that neighbouring tiles of this size share."""
        return min(max(64, tile_size // 4), tile_size // 2) if self.overlap is None else self.overlap


def _sentence(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{name} is {problem['input']!r}: {message}" if name else message
