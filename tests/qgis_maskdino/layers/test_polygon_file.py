"""Polygons of any layer become a file that keeps which feature is which."""

from __future__ import annotations

import pytest
from qgis.core import QgsCoordinateReferenceSystem, QgsFeature, QgsGeometry, QgsRectangle, QgsVectorLayer

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.layers.polygon_file import BATCH, fields_of, write_polygons

pytestmark = pytest.mark.usefixtures("qgis_app")

UTM = QgsCoordinateReferenceSystem("EPSG:32633")


def square(number: int, left: float) -> QgsFeature:
    feature = QgsFeature(number)
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(left, 0, left + 1, 1)))
    return feature


def written(path) -> list[QgsFeature]:
    return list(QgsVectorLayer(str(path), "written", "ogr").getFeatures())


def test_ids_stay_also_those_of_databases_and_of_edits_not_yet_saved(tmp_path):
    """QGIS numbers new features downwards from -2, PostgreSQL upwards without an end."""
    ids = [-3, -2, 7, 5_000_000_000]
    write_polygons([square(number, left) for left, number in enumerate(ids)], UTM, str(tmp_path / "out.gpkg"))
    assert sorted(feature.id() for feature in written(tmp_path / "out.gpkg")) == ids


def test_the_bounds_are_those_of_what_was_written(tmp_path):
    bounds = write_polygons([square(1, 10), square(2, 30)], UTM, str(tmp_path / "out.gpkg"))
    assert bounds == QgsRectangle(10, 0, 31, 1)


def test_nothing_written_has_no_bounds(tmp_path):
    line = QgsFeature(1)
    line.setGeometry(QgsGeometry.fromWkt("LINESTRING(0 0, 1 1)"))
    assert write_polygons([line, QgsFeature(2)], UTM, str(tmp_path / "out.gpkg")).isEmpty()
    assert written(tmp_path / "out.gpkg") == []


def test_what_lies_outside_is_cut_off(tmp_path):
    within = QgsGeometry.fromRect(QgsRectangle(0, 0, 0.5, 5))
    bounds = write_polygons([square(1, 0), square(2, 30)], UTM, str(tmp_path / "out.gpkg"), within=within)
    assert bounds == QgsRectangle(0, 0, 0.5, 1)
    assert [feature.geometry().area() for feature in written(tmp_path / "out.gpkg")] == pytest.approx([0.5])


def test_more_than_one_batch_arrives_whole(tmp_path):
    count = 2 * BATCH + 1
    write_polygons((square(number, number) for number in range(1, count + 1)), UTM, str(tmp_path / "out.gpkg"))
    assert len(written(tmp_path / "out.gpkg")) == count


def test_fields_that_are_asked_for_come_along(tmp_path):
    fields = fields_of("score:double", "name:string")
    feature = QgsFeature(fields, 4)
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(0, 0, 1, 1)))
    feature.setAttributes([0.75, "town hall"])
    write_polygons([feature], UTM, str(tmp_path / "out.gpkg"), fields=[fields.field("score")])
    (only,) = written(tmp_path / "out.gpkg")
    assert only.fields().names() == ["fid", "score"]
    assert only["score"] == 0.75


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(EngineError, match=r"out\.gpkg cannot be written"):
        write_polygons([square(1, 0)], UTM, str(tmp_path / "no such folder" / "out.gpkg"))
