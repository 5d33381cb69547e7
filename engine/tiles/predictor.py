"""What is asked of whatever sees the tiles of a raster, be it a model or something that stands in for one."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from engine.tiles.classes import BUILDING


class TilePredictor:
    """Anything that takes tiles; what it makes of them is the business of its subclasses.

    Attributes:
        tile_size: side of the square tiles that it takes, in pixels.
        gsd: ground sampling distance that it wants, in metres per pixel; None takes the raster's own.
        bands: how many bands a tile has.
        classes: names of the classes that it tells apart, by their labels.
        device: where it computes.
        batch_size: how many tiles per call serve it best.
        calls_at_once: how many threads may call it at the same time.
    """

    tile_size: int
    gsd: float | None
    bands: int
    classes = BUILDING
    device = "cpu"
    batch_size = 1
    calls_at_once = 1

    _ATTRIBUTES: ClassVar = ("tile_size", "gsd", "bands", "classes", "device", "batch_size", "calls_at_once", "identity")

    @cached_property
    def identity(self) -> str:
        """What tells it from others: a run is resumed with a predictor of the same identity alone."""
        return _class_name(self)

    def take_attributes(self, given: Any) -> None:
        """Stand for an object that is no subclass: take what it has, and keep one's own where it has none."""
        self.identity = _class_name(given)
        for name in self._ATTRIBUTES:
            if hasattr(given, name):
                setattr(self, name, getattr(given, name))


def _class_name(predictor: object) -> str:
    return f"{type(predictor).__module__}.{type(predictor).__qualname__}"
