"""The options of a command that runs a model over a raster."""

from __future__ import annotations

from engine.request import Request, argument, device_option, option


class RasterRequest(Request):
    """What such a command needs to know whatever it does; each says more of its output and its model."""

    raster: str = argument("Anything that GDAL reads.", metavar="RASTER")
    output: str = option(..., "Output file.", "-o", "--output", metavar="FILE")
    model: str = option("maskdino_lite", "An embedded model by name, or a model file.", metavar="MODEL")
    device: str = device_option()
    resume: bool = option(False, "Go on where a killed or cancelled run ended.")
