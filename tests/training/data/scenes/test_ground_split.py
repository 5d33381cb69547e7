"""Training and validation never share ground, whatever is asked for."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from engine.errors import ArgumentError
from training.config.config_file import read_config
from training.data.config import SourceConfig
from training.data.scenes.raster import read_scene, split_ground
from training.data.scenes.scene import Scene, SceneWindows
from training.data.scenes.tiles import join_at_borders
from training.data.synthetic.town import write_town
from training.data.training_data import read_scenes

AREA = geopandas.GeoSeries([shapely.box(85.510, 27.620, 85.520, 27.630)], crs="EPSG:4326")


@settings(max_examples=12)
@given(
    west=st.floats(85.505, 85.518), south=st.floats(27.615, 27.628), width=st.floats(0.001, 0.004), margin=st.floats(0.5, 60.0)
)
def test_the_two_sides_are_disjoint_by_the_margin(west: float, south: float, width: float, margin: float) -> None:
    aside = shapely.box(west, south, west + width, south + width)
    if shapely.intersection(aside, AREA.iloc[0]).area == 0:
        with pytest.raises(ArgumentError, match="no validation"):
            split_ground(AREA, aside, margin=margin)
        return
    split = split_ground(AREA, aside, margin=margin)
    assert split.training.distance(split.validation) >= margin - 1e-6
    whole = AREA.to_crs(split.crs).iloc[0].buffer(0.01)
    assert whole.contains(split.training) and whole.contains(split.validation)


def test_keeping_everything_aside_is_refused() -> None:
    with pytest.raises(ArgumentError, match="nothing for training"):
        split_ground(AREA, shapely.box(80, 20, 90, 30), margin=1.0)


def test_a_scene_is_the_ground_that_was_asked_for(tmp_path: Path) -> None:
    town = write_town(tmp_path / "t.tif", tmp_path / "t.gpkg", seed=6, size=400, gsd=0.3, style="dense")
    with rasterio.open(tmp_path / "t.tif") as source:
        west, _, _, north = source.bounds
    area = shapely.box(west + 30, north - 90, west + 90, north - 45)  # columns 100 to 300, rows 150 to 300
    scene = read_scene(tmp_path / "t.tif", tmp_path / "t.gpkg", area, "EPSG:32645")
    assert scene.image.shape[:2] == (150, 200) and scene.gsd == pytest.approx(0.3, rel=2e-3)
    sample = SceneWindows([scene], size=150, gsd=scene.gsd, smallest=1)[0]
    assert scene.area.symmetric_difference(shapely.box(0, 0, 200, 150)).area < 1e-3
    assert np.array_equal(scene.image, town.image[150:300, 100:300])
    labels = town.labels()[150:300, 125:275]
    assert (sample.masks.any(axis=0) != (labels > 0)).mean() < 2e-3


def test_footprints_in_another_crs_land_on_the_same_pixels(tmp_path: Path) -> None:
    town = write_town(tmp_path / "t.tif", tmp_path / "t.gpkg", seed=6, size=200, gsd=0.3, style="dense")
    geopandas.read_file(tmp_path / "t.gpkg").to_crs(3857).to_file(tmp_path / "mercator.gpkg")
    with rasterio.open(tmp_path / "t.tif") as source:
        area = shapely.box(*source.bounds)
    scene = read_scene(tmp_path / "t.tif", tmp_path / "mercator.gpkg", area, "EPSG:32645")
    drift = [shapely.hausdorff_distance(a, b) for a, b in zip(scene.footprints, town.footprints, strict=True)]
    assert max(drift) < 0.05


def test_ground_that_a_raster_does_not_show_gives_no_scene(tmp_path: Path) -> None:
    write_town(tmp_path / "t.tif", tmp_path / "t.gpkg", seed=6, size=64)
    assert read_scene(tmp_path / "t.tif", tmp_path / "t.gpkg", shapely.box(0, 0, 10, 10), "EPSG:32645") is None


def test_a_raster_that_is_not_8_bit_rgb_is_refused(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint16", "crs": "EPSG:32645"}
    with rasterio.open(tmp_path / "r.tif", "w", transform=Affine(1, 0, 5, 0, -1, 9), **profile) as target:
        target.write(np.zeros((1, 8, 8), np.uint16))
    with pytest.raises(ArgumentError, match="uint16"):
        read_scene(tmp_path / "r.tif", tmp_path / "none.gpkg", shapely.box(0, 0, 1, 1), "EPSG:32645")


def test_a_building_cut_by_tile_borders_is_whole_again_and_neighbours_stay_apart() -> None:
    left, right = shapely.box(200, 40, 256, 80), shapely.box(256, 40, 300, 80)
    house_across = [(left, 0), (right, 1)]
    neighbour = (shapely.box(256, 80, 300, 130), 1)  # touches the right piece along a wall, not across the border
    row_house = [(shapely.box(220, 150, 256, 170), 0), (shapely.box(256, 160, 290, 200), 1)]  # touch, ends differ
    joined = join_at_borders([*house_across, neighbour, *row_house], 256)
    assert sorted(round(g.area) for g in joined) == sorted([round(left.area + right.area), 44 * 50, 36 * 20, 34 * 40])


def test_a_building_over_four_tiles_is_one() -> None:
    house = shapely.box(230, 230, 290, 300)
    squares = [shapely.box(x, y, x + 256, y + 256) for x in (0, 256) for y in (0, 256)]
    pieces = [(shapely.intersection(house, square), n) for n, square in enumerate(squares)]
    joined = join_at_borders(pieces, 256)
    assert len(joined) == 1 and joined[0].symmetric_difference(house).area < 0.5


@pytest.fixture(scope="module")
def places(shared_data: Path) -> dict[str, SourceConfig]:
    """The places of the embedded model, by name."""
    return {source.name: source for source in read_config("embedded", []).data.sources if source.kind != "towns"}


@pytest.mark.slow
def test_every_place_of_the_embedded_model_keeps_ground_aside(places: dict[str, SourceConfig]) -> None:
    for name, source in places.items():
        sides = read_scenes(source)
        ground, aside = (sum(scene.area.area * scene.gsd**2 for scene in side) for side in sides)
        assert 0 < aside < ground, name
    training, validation = read_scenes(places["Banepa (Nepal)"])
    buildings = [sum(s.area.contains(f.centroid) for f in s.footprints) for s in (training[0], validation[0])]
    assert len(training) == 2 and len(validation) == 1 and 0.17 < buildings[1] / sum(buildings) < 0.23


def test_map_tiles_are_split_without_overlap(places: dict[str, SourceConfig]) -> None:
    for place, tiles in (("Zanzibar (Tanzania)", 46), ("Kampala (Uganda)", 7), ("Banepa, edge (Nepal)", 8)):
        sides = read_scenes(places[place])
        assert sum(scene.area.area for side in sides for scene in side) == tiles * 512**2, "each tile is on one side"
        # Compared by what they show: no tile of one side is a tile of the other, whatever either calls it.
        pictures = [
            {scene.image[y : y + 512, x : x + 512].tobytes() for scene in side for x, y in corners(scene)} for side in sides
        ]
        assert not pictures[0] & pictures[1] and sum(map(len, pictures)) == tiles


def corners(scene: Scene) -> list[tuple[int, int]]:
    """Top left corners of the zoom 19 tiles that a mosaic is made of."""
    height, width = scene.image.shape[:2]
    places = [(x, y) for y in range(0, height, 512) for x in range(0, width, 512)]
    return [(x, y) for x, y in places if scene.area.contains(shapely.Point(x + 256, y + 256))]
