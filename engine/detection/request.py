"""The options of ``maskdino detect``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import model_validator

from engine.detection.settings import Settings
from engine.errors import RequestError
from engine.request import option
from engine.tiles.request import RasterRequest


class DetectRequest(Settings, RasterRequest):
    """What is asked of a detection: from which raster to which file, with which model, and how."""

    command: ClassVar[str] = "detect"

    output: str = option(..., "Output file: .gpkg, .geojson, .fgb or .parquet.", "-o", "--output", metavar="FILE")
    layer: str | None = option(None, "Add them to an existing GeoPackage, as a new layer of this name.", metavar="NAME")
    append: bool = option(
        False,
        "Add them to the layer that --layer names, or to that of an earlier run; its fields and CRS must be the same. A run "
        "that fails or is cancelled adds none.",
    )
    overwrite: bool = option(False, "Replace a GeoPackage that holds other layers too.")

    @model_validator(mode="after")
    def _one_end_of_other_layers(self) -> DetectRequest:
        if self.overwrite and (self.append or self.layer is not None):
            raise RequestError(
                "Give --layer or --append, which keep what is there, or --overwrite, not both.", field="overwrite"
            )
        return self

    def settings(self) -> Settings:
        """Return what shapes the result, without the places that it is read from and written to."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})
