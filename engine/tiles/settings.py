"""What a person can set for any work on the tiles of a raster, checked before it begins."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.errors import RequestError
from engine.request import Bands, Names, Request, option

Precision = Literal["auto", "float32", "bfloat16"]


class TileSettings(Request):
    """Where a model looks in a raster, for which classes, and how."""

    aoi: str | None = option(None, "Polygons, in any format and CRS: look inside them alone.", metavar="VECTOR")
    extent: tuple[float, float, float, float] | None = option(
        None, "Look inside a rectangle alone, in the raster's CRS.", metavar="XMIN YMIN XMAX YMAX"
    )
    bands: Bands | None = option(
        None,
        "Bands for red, green and blue, counted from 1; by default by their colour interpretation, else the first ones.",
        metavar="1,2,3",
    )
    gsd: float | None = option(
        None,
        "Ground sampling distance that the model sees, in metres per pixel; by default what it was trained at.",
        metavar="METRES",
        ge=0.001,
    )
    classes: Names | None = option(
        None,
        "Names of the model's classes to find, with commas between them, such as car,truck; by default all of them.",
        metavar="NAME,NAME",
    )
    precision: Precision = option("auto", "Of the model's products; auto takes bfloat16 where the device is faster at it.")
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
        "Threads that read, and that work on what the model gives; by default one beside a CPU, up to eight beside a GPU.",
        ge=1,
    )
    overlap: int | None = option(
        None, "Pixels that neighbouring tiles share; by default a quarter of a tile, at least 64.", ge=0
    )

    @model_validator(mode="after")
    def _one_area(self) -> TileSettings:
        if self.aoi is not None and self.extent is not None:
            raise RequestError("Give --aoi or --extent, not both.", field="extent")
        return self

    def tile_overlap(self, tile_size: int) -> int:
        """Return the pixels that neighbouring tiles of this size share."""
        return min(max(64, tile_size // 4), tile_size // 2) if self.overlap is None else self.overlap
