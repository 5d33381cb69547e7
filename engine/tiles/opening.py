"""Open what a job on the tiles of a raster begins with: the raster as the model wants it, the area, the model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from engine.errors import ArgumentError
from engine.model.header import ModelHeader
from engine.model.model_file import ModelFile, open_model_file
from engine.raster.source import RasterSource
from engine.tiles.predictor import TilePredictor
from engine.tiles.settings import TileSettings
from engine.vector.area_of_interest import AreaOfInterest

if TYPE_CHECKING:
    from engine.model.instance_model import InstanceModel


def open_described(model: str | os.PathLike[str] | ModelFile | InstanceModel) -> ModelFile | InstanceModel:
    """Open a model's file, if it is not yet open; either has a ``header``.

    Raises:
        ModelFileError: it is no model file.
        ArgumentError: it is a loaded model that does not say what tiles it wants.
    """
    described = open_model_file(model) if isinstance(model, (str, os.PathLike)) else model
    if described.header is None:
        raise ArgumentError(
            "The model says neither its tile size nor its ground sampling distance.",
            hint="Load it from a model file, or give a predictor.",
        )
    return described


def wants_of(wanting: ModelHeader | TilePredictor) -> dict[str, Any]:
    """Return how a raster is opened for a model by its header, or for a predictor."""
    if isinstance(wanting, ModelHeader):
        # Where there is no data, the model sees what it sees beyond the edge of an image: its mean, which it makes zero.
        return {"band_count": len(wanting.bands), "gsd": wanting.gsd, "fill": wanting.config.pixel_mean}
    return {"band_count": wanting.bands, "gsd": wanting.gsd}


def open_raster(raster: str, settings: TileSettings, wanted: dict[str, Any]) -> tuple[RasterSource, AreaOfInterest | None]:
    """Open the raster as the model wants it, unless the settings want something else, and the area."""
    if settings.gsd is not None:
        wanted = {**wanted, "gsd": settings.gsd}
    chosen = {"bands": settings.bands, "on_damage": settings.on_damage, "local_only": settings.local_only}
    source = RasterSource.open(raster, **chosen, **wanted)
    try:
        if settings.aoi is not None:
            return source, AreaOfInterest.from_vector(settings.aoi, source)
        if settings.extent is not None:
            return source, AreaOfInterest.from_extent(settings.extent, source)
        return source, None
    except BaseException:
        source.close()
        raise
