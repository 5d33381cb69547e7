"""What a person can set for a segmentation, checked before any work begins."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from engine.tiles.settings import TileSettings


class Settings(TileSettings):
    """The settings of one segmentation, beside those of `TileSettings`; the names are those of the command line.

    Of ``classes``, pixels of the others have no data: they are not given to the next best class.

    Attributes:
        probabilities: name of the class whose probability is wanted in place of class numbers.
    """

    probabilities: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_kind_of_output(self) -> Settings:
        if self.probabilities is not None and self.classes is not None:
            raise ValueError("give classes or probabilities, not both")
        return self
