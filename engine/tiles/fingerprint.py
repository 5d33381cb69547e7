"""Name in words what shapes a result: a run is resumed by its like alone, and a result tells how it came to be."""

from __future__ import annotations

import json
import os
from pathlib import Path

from engine.distribution import version
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from engine.tiles.predictor import TilePredictor
from engine.tiles.settings import TileSettings

SOFTWARE = "qgis-maskdino"


def fingerprint_of(
    raster: str, *, source: RasterSource, grid: TileGrid, predictor: TilePredictor, settings: TileSettings
) -> dict[str, str]:
    """Return what must not differ between a run and its continuation, by the name that a person knows it by."""
    return {
        "raster": _place_of(raster),
        **_state_of(raster),
        "working grid": f"{source.width} x {source.height} pixels, {source.bands} bands",
        "bands": ",".join(map(str, settings.bands)) if settings.bands else "chosen by the program",
        "part of the raster": "{} {} {} {}".format(*grid.bounds),
        "area of interest": " ".join([_place_of(settings.aoi), *_state_of(settings.aoi).values()]) if settings.aoi else "none",
        **({"damaged blocks": settings.on_damage} if settings.on_damage != "fail" else {}),
        **({"classes": ", ".join(sorted({name.casefold() for name in settings.classes}))} if settings.classes else {}),
        "tile size": str(grid.tile_size),
        "overlap": str(grid.overlap),
        "model": predictor.identity,
    }


def metadata_of(source: RasterSource, model: str, settings: TileSettings) -> dict[str, str]:
    """Return what somebody who finds the result in a year needs to know of how it came to be."""
    return {
        "software": f"{SOFTWARE} {version()}",
        "model": model,
        "raster": source.name,
        "settings": json.dumps(settings.model_dump(exclude_none=True)),
        **{name: str(value) for name, value in source.metadata.items()},
    }


def _place_of(path: str) -> str:
    """Name a file wherever the program was started; what is no file here, such as a URL, as it was named."""
    return os.path.abspath(path) if os.path.isfile(path) else path


def _state_of(path: str) -> dict[str, str]:
    """Tell one state of a file from another. What is no file here, such as a URL, is known by its name alone."""
    if not os.path.isfile(path):
        return {}
    state = Path(path).stat()
    return {"size of the raster file": str(state.st_size), "time of the raster file": str(state.st_mtime_ns)}
