"""Rasters that users really open, from the file to the layer: a right result, or one clear line and nothing left behind."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

import engine
from engine.detection.instances import Instances
from engine.errors import MaskDinoError

ODD = [
    "RGBA.uint16", "all-nodata", "cog_alpha", "cog_dateline", "cog_nodata_nan", "cogeo", "corrupt", "float_nan",
    "joplin_utm15n_06m", "rotated", "vegas_uint16",
]  # fmt: skip
UNREADABLE = {"corrupt"}


class Bright:
    """What is brighter than the middle of the range is a building; of any raster, at its own pixels."""

    tile_size, gsd, bands, identity = 256, None, 3, "bright"

    def predict(self, tiles):
        return [self.one(tile.mean(axis=0) > 128) for tile in tiles]

    def one(self, mask):
        found = int(mask.any())
        return Instances(np.full(found, 0.9, np.float32), np.zeros(found, np.int64), mask[None][:found])


@pytest.mark.parametrize("name", ODD)
def test_a_right_result_or_one_clear_line(shared_data, tmp_path, name):
    raster = shared_data / "odd_rasters" / f"{name}.tif"
    output = tmp_path / "out.gpkg"
    arguments = {"predictor": Bright(), "outline": "raw", "overlap": 32}
    if name in UNREADABLE:
        with pytest.raises(MaskDinoError, match=name) as caught:
            engine.detect(raster, output, **arguments)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
        return
    summary = engine.detect(raster, output, **arguments)
    meta, _, geometries, (_, areas) = pyogrio.raw.read(output)
    polygons = shapely.from_wkb(geometries)
    assert len(polygons) == summary.buildings
    assert shapely.is_valid(polygons).all()
    with rasterio.open(raster) as dataset:
        assert (meta["crs"] is None) == (dataset.crs is None)
        if dataset.crs is not None:
            assert dataset.crs == rasterio.crs.CRS.from_user_input(meta["crs"])
        corners = [
            dataset.transform @ corner for corner in ((0, 0), (dataset.width, 0), dataset.shape[::-1], (0, dataset.height))
        ]
        ground = shapely.Polygon(corners).buffer(1e-6 * max(map(abs, corners[0])))
        if not dataset.transform.is_identity:
            assert shapely.covers(ground, polygons).all()
    if summary.buildings and summary.gsd:
        assert (areas > 0).all()
    if name == "all-nodata":
        assert (summary.buildings, summary.tiles_seen) == (0, 0)
