"""``maskdino:regularizeoutlines`` on real layers, with the real engine."""

from __future__ import annotations

import math

import pytest
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsVectorLayer,
)

from tests.qgis_maskdino.processing.algorithm_runs import refusal, run

pytestmark = pytest.mark.usefixtures("provider")

REGULARIZE = "maskdino:regularizeoutlines"


def ragged_house(column: int, *, angle: float = 0.5) -> QgsGeometry:
    """Return a house of 12 by 8 m with a corner every half metre, each off its wall by a hand's breadth."""
    walls = [(12, 0), (0, 8), (-12, 0), (0, -8)]
    x = y = 0.0
    points = []
    for along, up in walls:
        for step in range(int(math.hypot(along, up) * 2)):
            share = step / (math.hypot(along, up) * 2)
            off = 0.1 * math.sin(2.7 * len(points))
            px, py = x + along * share + (off if up else 0), y + up * share + (off if along else 0)
            points.append(
                QgsPointXY(
                    500_000 + 30 * column + px * math.cos(angle) - py * math.sin(angle),
                    5_000_000 + px * math.sin(angle) + py * math.cos(angle),
                )
            )
        x, y = x + along, y + up
    return QgsGeometry.fromPolygonXY([points])


@pytest.fixture
def layer():
    """Three houses, one in two parts, and a row without a geometry, in a layer that is being edited."""
    layer = QgsVectorLayer("MultiPolygon?crs=EPSG:32633&field=name:string&field=floors:int", "houses", "memory")
    two = ragged_house(2)
    two.addPartGeometry(ragged_house(3))
    geometries = [ragged_house(0), ragged_house(1), two, QgsGeometry()]
    QgsProject.instance().addMapLayer(layer)
    layer.startEditing()
    for number, geometry in enumerate(geometries):
        geometry.convertToMultiType()
        feature = QgsFeature(layer.fields())
        feature.setGeometry(geometry)
        feature.setAttributes([f"house {number}", None if number == 1 else number])
        layer.addFeature(feature)
    yield layer
    layer.rollBack()
    QgsProject.instance().removeMapLayer(layer.id())


def corners(geometry: QgsGeometry) -> int:
    return sum(len(ring) - 1 for polygon in geometry.asMultiPolygon() for ring in polygon)


def test_houses_become_rectangles_and_keep_what_is_known_of_them(layer):
    done = run(REGULARIZE, {"INPUT": layer.id(), "OUTPUT": "memory:"})
    rows = list(done.layer().getFeatures())
    assert [row.attributes() for row in rows] == [row.attributes() for row in layer.getFeatures()]
    assert [corners(row.geometry()) for row in rows[:3]] == [4, 4, 8]
    assert not rows[3].hasGeometry()
    befores = list(layer.getFeatures())
    for row, before in zip(rows[:3], befores[:3], strict=True):
        both = row.geometry().intersection(before.geometry()).area()
        assert both / row.geometry().combine(before.geometry()).area() > 0.97
    results = done.results
    assert (results["REDRAWN"], results["KEPT"], results["CORNERS_BEFORE"], results["CORNERS_AFTER"]) == (4, 0, 4 * 80, 4 * 4)
    assert done.layer().crs() == layer.crs()
    assert any("4 polygons redrawn" in line for line in done.feedback.said)


def test_of_a_selection_what_is_selected_is_drawn_anew(layer):
    layer.selectByExpression("name = 'house 1'")
    source = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    done = run(REGULARIZE, {"INPUT": source, "OUTPUT": "memory:", "OUTLINE": "simplified", "DETAIL": 0.5})
    (row,) = done.layer().getFeatures()
    assert row["name"] == "house 1"
    assert 4 <= corners(row.geometry()) < 80


def test_the_layer_itself_is_no_output(layer, tmp_path):
    path = str(tmp_path / "houses.gpkg")
    run(REGULARIZE, {"INPUT": layer.id(), "OUTPUT": path})
    assert "would be lost" in refusal(REGULARIZE, {"INPUT": path, "OUTPUT": path})


def test_what_cannot_work_is_refused(layer):
    assert refusal(REGULARIZE, {"INPUT": layer.id(), "OUTPUT": "memory:", "DETAIL": -1})
