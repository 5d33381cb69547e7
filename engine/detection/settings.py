"""What a person can set for a detection, checked before any work begins."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.tiles.settings import TileSettings


class Settings(TileSettings):
    """The settings of one detection, beside those of `TileSettings`; the names are those of the command line.

    Of ``classes``, objects of others are left out before anything else is made of them. A building shorter than the
    ``overlap`` is whole in one tile at least; longer ones are joined.

    Attributes:
        score: instances of a lower score are left out.
        min_area: polygons smaller than this, in square metres of true ground, are left out. None leaves out what is
            smaller than 12 pixels, too few to tell, and of a model that finds buildings alone what is smaller than 4 m2,
            which is a shed.
        outline: ``regular``, ``simplified`` or ``raw``.
        deterministic: compute in float32, with one thread and one tile at a time whatever else is asked for, so that threads,
            workers and batches change no bit of the result on one machine.
        compile: compile the model first, with torch.compile; docs/performance.md says what it gains.
    """

    score: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_area: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    outline: Literal["regular", "simplified", "raw"] = "regular"
    deterministic: bool = False
    compile: bool = False

    @model_validator(mode="after")
    def _one_way_to_compute(self) -> Settings:
        if self.deterministic and (self.compile or self.precision == "bfloat16"):
            raise ValueError("deterministic goes neither with compile nor with bfloat16: leave those out")
        return self
