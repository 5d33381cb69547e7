"""The options of ``maskdino detect``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import model_validator

from engine.detection.settings import Settings
from engine.errors import RequestError
from engine.request import Request, argument, device_option, option


class RasterRequest(Request):
    """What a command needs to know that runs a model over a raster."""

    raster: str = argument("Anything that GDAL reads.", metavar="RASTER")
    output: str = option(..., "Where they go: .gpkg, .geojson, .fgb or .parquet.", "-o", "--output", metavar="FILE")
    model: str = option("maskdino_lite", "An embedded model by name, or a model file.", metavar="MODEL")
    device: str = device_option()


class DetectRequest(Settings, RasterRequest):
    """What is asked of a detection: from which raster to which file, with which model, and how."""

    command: ClassVar[str] = "detect"

    layer: str | None = option(None, "Add them to an existing GeoPackage, as a new layer of this name.", metavar="NAME")
    overwrite: bool = option(False, "Replace a GeoPackage that holds other layers too.")
    resume: bool = option(False, "Go on where a killed or cancelled run ended.")

    @model_validator(mode="after")
    def _one_end_of_other_layers(self) -> DetectRequest:
        if self.layer is not None and self.overwrite:
            raise RequestError("Give --layer, which keeps what is there, or --overwrite, not both.", field="overwrite")
        return self

    def settings(self) -> Settings:
        """Return what shapes the result, without the places that it is read from and written to."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})
