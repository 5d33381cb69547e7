"""What the embedded default model is trained and validated on, and where the border between the two runs on the ground.

Validation ground is never seen in training at any resolution: the southern third of Banepa's labelled area, with a strip of
15 m around it used by neither, and whole tiles of each other place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import shapely

from engine.errors import ArgumentError
from engine.model.model_header import DataSource
from training.data.raster_tiles import GroundSplit, read_scene, split_ground
from training.data.scene import Scene
from training.data.tile_mosaic import read_mosaics

BANEPA_VALIDATION_SHARE = 0.34  # of the labelled area's height, from the south: 20 % of its buildings
BANEPA_MARGIN = 15.0  # metres
EVERYWHERE = shapely.box(-2.1e7, -2.1e7, 2.1e7, 2.1e7)  # EPSG:3857
# Tiles of zoom 19 whose centre lies here are kept aside, EPSG:3857.
TILE_VALIDATION = {
    "zanzibar": shapely.box(4368520.0, -676800.0, 4368900.0, -676500.0),
    "kampala": shapely.box(3628465.0, 38900.0, 3628600.0, 39200.0),
    "banepa_edge": shapely.box(9520400.0, 3201100.0, 9520700.0, 3201184.0),
}
LABEL_ZOOM, IMAGE_ZOOM = 19, 20

# For model cards.
GROUND_RECORDS = (
    DataSource(
        name="Banepa (hotosm/fAIr-models)",
        licence="imagery CC BY 4.0, labels ODbL",
        attribution="OpenAerialMap contributors, OpenStreetMap contributors",
    ),
    DataSource(
        name="Zanzibar, Kampala, Banepa edge (hotosm/fAIr-utilities)",
        licence="imagery CC BY 4.0, labels ODbL",
        attribution="OpenAerialMap contributors, OpenStreetMap contributors",
    ),
)


@dataclass(frozen=True, eq=False)
class Ground:
    """Scenes on one side of the split, by place."""

    banepa: list[Scene]
    fair: list[Scene]

    @property
    def scenes(self) -> list[Scene]:
        """All of them."""
        return [*self.banepa, *self.fair]


def read_ground(data: str | Path) -> tuple[Ground, Ground]:
    """Read the real imagery as (training ground, validation ground).

    Args:
        data: folder with ``banepa/`` and ``fair/``, see the model card for what they are.

    Raises:
        ArgumentError: they are not there.
    """
    data = Path(data)
    banepa, fair = data / "banepa", data / "fair"
    for folder in (banepa, fair):
        if not folder.is_dir():
            raise ArgumentError(f"The folder {folder} is not there.", hint="Give the folder that holds banepa/ and fair/.")
    split = split_banepa(banepa)
    sides = []
    for ground, aside in ((split.training, False), (split.validation, True)):
        # The finer image shows ground that the coarser one shows too; to validate on both would count it twice.
        rasters = ["image.tif"] if aside else ["image.tif", "image_013m.tif"]
        scenes = [read_scene(banepa / name, banepa / "buildings.gpkg", ground, split.crs) for name in rasters]
        mosaics = []
        for place, kept in TILE_VALIDATION.items():
            within = kept if aside else shapely.difference(EVERYWHERE, kept)
            mosaics += read_mosaics(fair / place, image_zoom=IMAGE_ZOOM, label_zoom=LABEL_ZOOM, within=within)
        sides.append(Ground([scene for scene in scenes if scene is not None], mosaics))
    return sides[0], sides[1]


def split_banepa(folder: str | Path) -> GroundSplit:
    """Cut the labelled area of Banepa into training and validation ground."""
    area = geopandas.read_file(Path(folder, "labelled_area.gpkg")).geometry
    west, south, east, north = area.total_bounds
    southern = shapely.box(west - 1, south - 1, east + 1, south + BANEPA_VALIDATION_SHARE * (north - south))
    return split_ground(area, southern, margin=BANEPA_MARGIN)
