"""What a person can set for a segmentation, checked before any work begins."""

from __future__ import annotations

from pydantic import model_validator

from engine.errors import RequestError
from engine.request import Names, option
from engine.tiles.settings import TileSettings


class Settings(TileSettings):
    """Where in a raster pixels get a class, which classes there are, and how."""

    classes: Names | None = option(
        None,
        "Names of the model's classes to keep, with commas between them, such as road,water; by default all of them. Pixels of "
        "the others have no data.",
        metavar="NAME,NAME",
    )
    probabilities: str | None = option(
        None, "Write the probability of the class of this name in place of class numbers, 0 to 254 for 0 to 1.", metavar="NAME"
    )

    @model_validator(mode="after")
    def _one_kind_of_output(self) -> Settings:
        if self.probabilities is not None and self.classes is not None:
            raise RequestError("Give --classes or --probabilities, not both.", field="probabilities")
        return self
