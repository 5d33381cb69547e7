"""A real town whose buildings are known: 948 of them, many touching, in degrees, through files and back."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

import engine
from tests.engine.detection.label_raster import LabelPredictor, known_polygons, write_label_raster


@pytest.fixture(scope="module")
def town(shared_data, tmp_path_factory):
    """The buildings of banepa as labels on the grid of its image; where two overlap, the later one has the pixel."""
    buildings = geopandas.read_file(shared_data / "banepa" / "buildings.gpkg")
    with rasterio.open(shared_data / "banepa" / "image.tif") as image:
        shape, transform, crs = image.shape, image.transform, image.crs
    numbered = ((geometry, number) for number, geometry in enumerate(buildings.to_crs(crs).geometry, 1))
    labels = rasterize(numbered, out_shape=shape, transform=transform, dtype=np.int32)
    raster = write_label_raster(tmp_path_factory.mktemp("banepa") / "labels.tif", labels, crs=crs, transform=transform)
    return labels, transform, raster


def in_pixels(geometries, transform) -> set[bytes]:
    """Bring polygons back to the pixel corners that they came from, as a set that compares by value."""
    a, b, c, d, e, f = (~transform)[:6]
    exact = shapely.transform(geometries, lambda p: np.stack([a * p[:, 0] + b * p[:, 1] + c, d * p[:, 0] + e * p[:, 1] + f], 1))
    corners = shapely.transform(exact, np.round)
    assert np.abs(shapely.get_coordinates(exact) - shapely.get_coordinates(corners)).max() < 1e-5
    return {shapely.to_wkb(shapely.normalize(polygon)) for polygon in corners}


@pytest.mark.slow
@pytest.mark.parametrize(("tile_size", "overlap", "batch_size"), [(512, 128, 1), (256, 32, 4), (333, 150, 3), (1000, 64, 1)])
def test_every_building_comes_back_whatever_the_tiles(town, tmp_path, tile_size, overlap, batch_size):
    labels, transform, raster = town
    engine.detect(
        raster, tmp_path / "out.gpkg", predictor=LabelPredictor(tile_size), overlap=overlap, batch_size=batch_size,
        outline="raw", min_area=0,
    )  # fmt: skip
    found = geopandas.read_file(tmp_path / "out.gpkg")
    truth = [polygon for polygon, _ in known_polygons(labels, rasterio.Affine.identity())]
    assert len(found) == len(truth)
    assert in_pixels(found.geometry.to_numpy(), transform) == in_pixels(np.array(truth), rasterio.Affine.identity())
