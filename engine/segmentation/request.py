"""The options of ``maskdino segment``."""

from __future__ import annotations

from typing import ClassVar

from engine.request import option
from engine.segmentation.settings import Settings
from engine.tiles.request import RasterRequest


class SegmentRequest(Settings, RasterRequest):
    """What is asked of a segmentation: from which raster to which file, with which model, and how."""

    command: ClassVar[str] = "segment"

    output: str = option(..., "Output file: .tif.", "-o", "--output", metavar="CLASSES.tif")
    model: str | None = option(
        None, "A model file for semantic or panoptic segmentation; none comes with the program.", metavar="MODEL"
    )
    overwrite: bool = option(False, "Replace a file that this program did not write, too.")

    def settings(self) -> Settings:
        """Return what shapes the result, without the places that it is read from and written to."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})
