"""What a person can set for a detection, checked before any work begins."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from engine.errors import ArgumentError
from engine.request import option
from engine.tiles.settings import TileSettings


class Settings(TileSettings):
    """Where to look for objects in a raster, for which, and how.

    A building that is shorter than the overlap of tiles is whole in one of them at least; longer ones are joined.
    """

    score: float = option(
        0.5, "Keep what the model is at least this sure of, 0 to 1. Lower finds more, and more that is none.", ge=0, le=1
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
    deterministic: bool = option(
        False,
        "The same bits whatever the number of threads, workers and tiles at once, in float32, with one of each; slower.",
    )
    compile: bool = option(False, "Compile the model first, with torch.compile: takes a minute, and on a CPU a C++ compiler.")

    @model_validator(mode="after")
    def _one_way_to_compute(self) -> Settings:
        if self.deterministic and (self.compile or self.precision == "bfloat16"):
            raise ArgumentError(
                "deterministic goes neither with compile nor with bfloat16.", field="deterministic", hint="Leave those out."
            )
        return self
