"""Rows of polygons out of vector files."""

from __future__ import annotations

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely

from engine.errors import VectorError
from engine.vector.polygon_file import read_layer
from engine.vector.valid_polygons import mended, only_polygons, polygons_in

SQUARE = shapely.box(0, 0, 10, 10)
BOW = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])


def test_rows_keep_their_ids_and_the_fields_asked_for(tmp_path):
    path = tmp_path / "a.gpkg"
    shapes = [shapely.Point(0, 0), SQUARE, BOW]
    geopandas.GeoDataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}, geometry=shapes, crs="EPSG:32645").to_file(path)
    layer = read_layer(path, fields=lambda names: [name for name in ("b", "a") if name in names])
    assert layer.ids.tolist() == [2, 3]
    assert {name: values.tolist() for name, values in layer.fields.items()} == {"a": [2, 3], "b": ["y", "z"]}
    assert (layer.features, layer.mended, len(layer)) == (3, 1, 2)
    assert shapely.area(layer.geometries).tolist() == [100, 50]
    last = layer.only(np.array([1]))
    assert (last.ids.tolist(), last.fields["b"].tolist(), last.features) == ([3], ["z"], 3)


def test_an_empty_layer_is_a_layer(tmp_path):
    geopandas.GeoDataFrame(geometry=[], crs="EPSG:32645").to_file(tmp_path / "a.gpkg")
    layer = read_layer(tmp_path / "a.gpkg")
    assert (len(layer), layer.features) == (0, 0)
    assert "32645" in str(layer.crs)


def test_parts_that_overlap_are_united_not_taken_out_of_one_another():
    overlapping = shapely.MultiPolygon([SQUARE, shapely.box(5, 0, 15, 10)])
    result = mended(np.array([overlapping, BOW], dtype=object))
    assert shapely.is_valid(result).all()
    assert shapely.area(result).tolist() == [150, 50]


def test_what_is_left_of_other_geometries():
    collection = shapely.GeometryCollection([shapely.Point(0, 0), SQUARE, shapely.MultiPolygon([shapely.box(20, 0, 30, 10)])])
    shapes = np.array([SQUARE, shapely.Point(0, 0), collection, None, shapely.LineString([(0, 0), (1, 1)])], dtype=object)
    assert shapely.area(only_polygons(shapes)).tolist() == [100, 0, 200, 0, 0]
    assert len(polygons_in(collection)) == 2


def test_messages_name_what_the_file_is_for(tmp_path):
    (tmp_path / "a.gpkg").write_text("no layer")
    with pytest.raises(VectorError, match=r"annotations .*a\.gpkg cannot be read"):
        read_layer(tmp_path / "a.gpkg", role="annotations")


@pytest.mark.parametrize("srs_id", ["0", "-1"])
def test_a_geopackage_that_does_not_know_its_crs_has_none(tmp_path, srs_id):
    """QGIS writes a layer without CRS so; taken at its word, its metres would be degrees."""
    path = tmp_path / "bare.gpkg"
    square = shapely.to_wkb(np.array([shapely.box(500_000, 0, 500_010, 10)]))
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.raw.write(
            path, square, [], np.array([], dtype=object), layer="a", driver="GPKG", geometry_type="Polygon", crs=None,
            SRID=srs_id,
        )  # fmt: skip
    assert read_layer(path).crs is None
