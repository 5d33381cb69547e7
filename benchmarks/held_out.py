"""The real ground that is kept aside from training: what a config holds out, place by place, and the tiles of MapChallenge.

It needs the real imagery, which is not part of the project.
"""

from __future__ import annotations

from pathlib import Path

import typer

from training.config.config_file import read_config
from training.data.augmentation_config import AugmentationConfig
from training.data.config import CocoData, DataConfig, RasterData, SourceConfig, TownsData
from training.data.training_data import Places, open_training_data

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FIRST_PLACES = ("Banepa (Nepal)", "Zanzibar (Tanzania)", "Kampala (Uganda)", "Banepa, edge (Nepal)")
"""Those of ``maskdino_tiny``. Their 335 held-out buildings are what models have been compared by from the first one on."""
MAPCHALLENGE = "MapChallenge"

_DATA_IN_CONFIGS = Path("../shared/data")


def read_ground(config: str | Path, data: Path) -> DataConfig:
    """Read what a config says of real ground: its sources but for the synthetic towns.

    Args:
        config: a YAML file, or the name of a ready config.
        data: the folder that is meant where the config names files below ``../shared/data``. Its tiles of MapChallenge,
            which are never trained on, are validated on as one more place.

    Raises:
        ConfigError: the config does not hold.
    """
    if not data.is_dir():
        raise typer.BadParameter(f"{data} is not there: the real imagery does not come with the project")
    ground = read_config(config).data
    sources, validation = (
        tuple(_moved(source, data) for source in side if not isinstance(source, TownsData))
        for side in (ground.sources, ground.validation)
    )
    if (data / "mapchallenge").is_dir():
        validation += (CocoData(kind="coco", name=MAPCHALLENGE, folder=data / "mapchallenge"),)
    return ground.model_copy(update={"sources": sources, "validation": validation})


def held_out_samples(ground: DataConfig) -> Places:
    """Cut the held-out ground into the images that a training validates on."""
    return open_training_data(ground, AugmentationConfig(), seed=0).validation


def _moved(source: SourceConfig, data: Path) -> SourceConfig:
    if isinstance(source, RasterData):
        rasters = tuple(_path(raster, data) for raster in source.rasters)
        files = {"rasters": rasters, "footprints": _path(source.footprints, data), "area": _path(source.area, data)}
    else:
        files = {"folder": _path(source.folder, data)}
    return source.model_copy(update=files)


def _path(path: Path, data: Path) -> Path:
    return data / path.relative_to(_DATA_IN_CONFIGS) if path.is_relative_to(_DATA_IN_CONFIGS) else path
