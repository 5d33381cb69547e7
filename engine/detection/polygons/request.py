"""The options of ``maskdino regularize``."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.request import Request, argument, option


class RegularizeRequest(Request):
    """Which layer is drawn anew, how, and where to."""

    command: ClassVar[str] = "regularize"

    layer: str = argument("Polygons, in any format and CRS; FILE|layername=NAME names one layer of several.", metavar="LAYER")
    output: str = option(..., "Output file: .gpkg, .geojson or .fgb.", "-o", "--output", metavar="FILE")
    outline: Literal["regular", "simplified"] = option(
        "regular", "Outlines with right angles (regular), or smooth ones (simplified)."
    )
    detail: float = option(
        0.3,
        "What is smaller than this is taken for noise, in metres on the ground; for polygons along the pixels of a raster, "
        "their size. More gives fewer corners.",
        metavar="METRES",
        ge=0.001,
        le=100,
    )
    overwrite: bool = option(False, "Replace a GeoPackage that holds other layers too.")
