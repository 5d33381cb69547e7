"""Whole layers come back as they were written, fields of every kind included."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from pyproj import CRS

from engine.errors import ArgumentError, VectorError
from engine.vector.feature_file import check_feature_file, read_features, write_features

SQUARE = shapely.box(0, 0, 1, 2)


def layer(**changes: object) -> geopandas.GeoDataFrame:
    fields = {
        "whole": pd.array([1, None, 3], dtype="Int32"),
        "large": pd.array([2**40, None, -5], dtype="Int64"),
        "yes": pd.array([True, None, False], dtype="boolean"),
        "share": [0.5, None, 2.0],
        "text": ["Łódź", None, ""],
        "when": pd.to_datetime(["2020-01-01T10:00:00", None, "2021-05-06T07:08:09"]),
    }
    geometry = [SQUARE, shapely.multipolygons([shapely.box(5, 5, 6, 6), shapely.box(8, 8, 9, 9)]), None]
    return geopandas.GeoDataFrame({**fields, **changes}, geometry=geometry, crs=32633)


@pytest.mark.parametrize("name", ["a.gpkg", "a.fgb", "a.geojson"])
def test_what_is_written_is_what_was_read(tmp_path: Path, name: str) -> None:
    layer().to_file(tmp_path / "source.gpkg", layer="houses")
    table = read_features(tmp_path / "source.gpkg")
    write_features(table, tmp_path / name)
    before, after = (pyogrio.read_info(tmp_path / file) for file in ("source.gpkg", name))
    assert CRS(after["crs"]) == CRS(32633)
    if name != "a.geojson":  # which knows fewer types
        assert after["fields"].tolist() == before["fields"].tolist() and after["dtypes"].tolist() == before["dtypes"].tolist()
    again = read_features(tmp_path / name)
    assert again.name == ("houses" if name.endswith((".gpkg", ".geojson", ".fgb")) else "a")
    for field in table.columns:
        assert again.nulls[field].tolist() == table.nulls[field].tolist() == [False, True, False]
        there = ~table.nulls[field]
        assert again.columns[field][there].tolist() == table.columns[field][there].tolist()
    assert shapely.is_missing(again.geometries).tolist() == [False, False, True]
    assert shapely.equals(again.geometries[:2], table.geometries[:2]).all()


def test_a_layer_without_fields_and_one_without_features(tmp_path: Path) -> None:
    layer()[["geometry"]].to_file(tmp_path / "bare.gpkg")
    layer().iloc[:0].to_file(tmp_path / "empty.gpkg")
    assert len(read_features(tmp_path / "bare.gpkg")) == 3 and not read_features(tmp_path / "bare.gpkg").columns
    table = read_features(tmp_path / "empty.gpkg")
    write_features(table, tmp_path / "again.gpkg")
    assert len(read_features(tmp_path / "again.gpkg")) == 0
    assert pyogrio.read_info(tmp_path / "again.gpkg")["fields"].tolist() == ["whole", "large", "yes", "share", "text", "when"]


def test_numbers_that_would_lose_digits_are_refused(tmp_path: Path) -> None:
    layer(large=pd.array([2**53 + 1, None, 1], dtype="Int64")).to_file(tmp_path / "a.gpkg")
    with pytest.raises(VectorError, match="field large has whole numbers of 16 digits"):
        read_features(tmp_path / "a.gpkg")
    layer(large=pd.array([2**53 + 1, 2, 1], dtype="Int64")).to_file(tmp_path / "b.gpkg")
    assert read_features(tmp_path / "b.gpkg").columns["large"][0] == 2**53 + 1


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="does not exist"):
        read_features(tmp_path / "none.gpkg")
    (tmp_path / "a.parquet").touch()
    with pytest.raises(VectorError, match="GeoParquet"):
        read_features(tmp_path / "a.parquet")
    with pytest.raises(ArgumentError, match=r"extension '\.txt'.*\.gpkg"):
        check_feature_file(tmp_path / "a.txt")


def test_geometries_are_flat(tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[shapely.force_3d(SQUARE, 7)], crs=32633).to_file(tmp_path / "a.gpkg")
    assert not shapely.has_z(read_features(tmp_path / "a.gpkg").geometries).any()
    assert np.isfinite(shapely.get_coordinates(read_features(tmp_path / "a.gpkg").geometries)).all()
