"""What a person can set for a detection, checked before any work begins."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.errors import ArgumentError, RequestError
from engine.request import Bands, Names, Request, option

Precision = Literal["auto", "float32", "bfloat16"]


class Settings(Request):
    """Where to look for objects in a raster, for which, and how."""

    aoi: str | None = option(None, "Polygons, in any format and CRS: detect inside them alone.", metavar="VECTOR")
    extent: tuple[float, float, float, float] | None = option(
        None, "Detect inside a rectangle alone, in the raster's CRS.", metavar="XMIN YMIN XMAX YMAX"
    )
    bands: Bands | None = option(
        None,
        "Bands for red, green and blue, counted from 1; by default by their colour interpretation, else the first ones.",
        metavar="1,2,3",
    )
    gsd: float | None = option(
        None,
        "Ground sampling distance to detect at, in metres per pixel; by default what the model was trained at.",
        metavar="METRES",
        ge=0.001,
    )
    score: float = option(
        0.5, "Keep what the model is at least this sure of, 0 to 1. Lower finds more, and more that is none.", ge=0, le=1
    )
    classes: Names | None = option(
        None,
        "Names of the model's classes to find, with commas between them, such as car,truck; by default all of them.",
        metavar="NAME,NAME",
    )
    # 12 pixels are too few to tell what they show, and 4 m2 are a shed.
    min_area: float | None = option(
        None,
        "Leave out what is smaller, in square metres of ground; by default 12 pixels, and of buildings 4 m2 if that is more.",
        metavar="M2",
        ge=0,
    )
    outline: Literal["regular", "simplified", "raw"] = option(
        "regular", "Outlines with right angles (regular), smooth ones (simplified), or the borders of the pixels (raw)."
    )
    precision: Precision = option("auto", "Of the model's products; auto takes bfloat16 where the device is faster at it.")
    deterministic: bool = option(
        False,
        "The same bits whatever the number of threads, workers and tiles at once, in float32, with one of each; slower.",
    )
    compile: bool = option(False, "Compile the model first, with torch.compile: takes a minute, and on a CPU a C++ compiler.")
    on_damage: Literal["fail", "skip"] = option(
        "fail", "What a damaged block of the raster does: fail the run, or skip it as no data and name it."
    )
    local_only: bool = option(
        False, "Refuse a raster that reads from the network or from outside its own folder, such as a VRT from a stranger."
    )
    batch_size: int | None = option(None, "Tiles that the model sees at once; by default what suits the device.", ge=1)
    # A model on the CPU keeps it busy by itself.
    workers: int | None = option(
        None,
        "Threads that read, and that draw outlines; by default one beside a CPU, up to eight beside a GPU.",
        ge=1,
    )
    # A building shorter than the overlap is whole in one tile at least; longer ones are joined.
    overlap: int | None = option(
        None, "Pixels that neighbouring tiles share; by default a quarter of a tile, at least 64.", ge=0
    )

    @model_validator(mode="after")
    def _one_area(self) -> Settings:
        if self.aoi is not None and self.extent is not None:
            raise RequestError("Give --aoi or --extent, not both.", field="extent")
        return self

    @model_validator(mode="after")
    def _one_way_to_compute(self) -> Settings:
        if self.deterministic and (self.compile or self.precision == "bfloat16"):
            raise ArgumentError(
                "deterministic goes neither with compile nor with bfloat16.", field="deterministic", hint="Leave those out."
            )
        return self

    def tile_overlap(self, tile_size: int) -> int:
        """Return the pixels that neighbouring tiles of this size share."""
        return min(max(64, tile_size // 4), tile_size // 2) if self.overlap is None else self.overlap
