"""``maskdino:evaluatedetections`` on layers in memory, in any CRS."""

from __future__ import annotations

import pytest
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from tests.qgis_maskdino.processing.algorithm_runs import Feedback, refusal, run

pytestmark = pytest.mark.usefixtures("provider")

EVALUATE = "maskdino:evaluatedetections"
UTM = QgsCoordinateReferenceSystem("EPSG:32633")


def house(column: int, *, shift: float = 0.0) -> QgsGeometry:
    """Return a house of 10 m; those of other columns stand 30 m apart."""
    left = 500_000 + 30 * column + shift
    return QgsGeometry.fromRect(QgsRectangle(left, 5_000_000, left + 10, 5_000_010))


def layer_of(name: str, crs: str, houses: list[QgsGeometry], scores: list[float] | None = None, field: str = "score"):
    """Make a layer in memory and in the project; houses are given in UTM."""
    layer = QgsVectorLayer(f"Polygon?crs={crs}&field=name:string&field={field}:double", name, "memory")
    transform = QgsCoordinateTransform(UTM, QgsCoordinateReferenceSystem(crs), QgsProject.instance())
    features = []
    for number, geometry in enumerate(houses):
        feature = QgsFeature(layer.fields())
        geometry = QgsGeometry(geometry)
        geometry.transform(transform)
        feature.setGeometry(geometry)
        feature.setAttributes([f"house {number}", scores[number] if scores else None])
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.fixture
def layers():
    """Houses 0, 1, 2 are there; 0 and 1 were found, and one that is none."""
    found = layer_of("found", "EPSG:32633", [house(5), house(0), house(1, shift=1)], [0.6, 0.9, 0.8])
    there = layer_of("there", "EPSG:4326", [house(0), house(1), house(2)])
    yield found, there
    QgsProject.instance().removeMapLayers([found.id(), there.id()])


def test_hits_false_detections_and_misses_are_counted_and_drawn(layers, tmp_path):
    found, there = layers
    report = tmp_path / "rapport d'été.html"
    done = run(EVALUATE, {"DETECTIONS": found.id(), "ANNOTATIONS": there.id(), "OUTPUT": "memory:", "REPORT": str(report)})
    results = done.results
    assert [results[name] for name in ("TRUE_POSITIVES", "FALSE_POSITIVES", "MISSED")] == [2, 1, 1]
    assert results["PRECISION"] == pytest.approx(2 / 3)
    assert results["RECALL"] == pytest.approx(2 / 3)
    assert results["AP50"] == pytest.approx(2 / 3, abs=0.01)
    assert results["BEST_F1_SCORE"] == pytest.approx(0.8)
    rows = {row["result"]: row for row in done.layer().getFeatures()}
    assert rows.keys() == {"true positive", "false positive", "miss"}
    assert done.layer().crs() == UTM
    text = report.read_text(encoding="utf-8")
    assert "found" in text
    assert "there" in text


def test_rows_name_the_features_of_the_layers_that_were_compared(layers):
    found, there = layers
    done = run(EVALUATE, {"DETECTIONS": found.id(), "ANNOTATIONS": there.id(), "OUTPUT": "memory:"})
    names = {feature.id(): feature["name"] for feature in there.getFeatures()}
    for row in done.layer().getFeatures():
        if row["result"] == "false positive":
            assert row["detection_id"] == next(f.id() for f in found.getFeatures() if f["score"] == 0.6)
        if row["result"] == "miss":
            assert names[row["annotation_id"]] == "house 2"


def test_selected_features_an_area_and_a_field_of_ones_own(layers):
    _, there = layers
    found = layer_of("own", "EPSG:3857", [house(0), house(1), house(7)], [0.5, 0.7, 0.9], field="certainty")
    area = layer_of("area", "EPSG:32633", [QgsGeometry.fromRect(QgsRectangle(499_990, 4_999_990, 500_200, 5_000_020))])
    there.selectByIds([1, 2])
    done = run(
        EVALUATE,
        {
            "DETECTIONS": found.id(),
            "ANNOTATIONS": QgsProcessingFeatureSourceDefinition(there.id(), selectedFeaturesOnly=True),
            "AOI": area.id(),
            "SCORE_FIELD": "certainty",
            "OUTPUT": "memory:",
        },
    )
    QgsProject.instance().removeMapLayers([found.id(), area.id()])
    assert [done.results[name] for name in ("TRUE_POSITIVES", "FALSE_POSITIVES", "MISSED")] == [2, 0, 0]
    assert sorted(row["score"] for row in done.layer().getFeatures()) == pytest.approx([0.5, 0.7])


def test_the_layers_that_are_compared_are_not_replaced(layers, tmp_path):
    _, there = layers
    path = tmp_path / "found.gpkg"
    options = QgsVectorFileWriter.SaveVectorOptions()
    QgsVectorFileWriter.writeAsVectorFormatV3(layers[0], str(path), QgsProject.instance().transformContext(), options)
    parameters = {"DETECTIONS": str(path), "ANNOTATIONS": there.id(), "OUTPUT": str(path)}
    assert "would be lost" in refusal(EVALUATE, parameters)


def test_layers_without_crs_are_compared_in_their_own_coordinates():
    bare = []
    for number, houses in enumerate(([house(0), house(5)], [house(0), house(2)])):
        layer = layer_of(f"bare {number}", "EPSG:32633", houses)
        layer.setCrs(QgsCoordinateReferenceSystem())
        bare.append(layer)
    done = run(EVALUATE, {"DETECTIONS": bare[0].id(), "ANNOTATIONS": bare[1].id(), "OUTPUT": "memory:"})
    QgsProject.instance().removeMapLayers([layer.id() for layer in bare])
    assert [done.results[name] for name in ("TRUE_POSITIVES", "FALSE_POSITIVES", "MISSED")] == [1, 1, 1]
    assert any("No CRS places the layers on Earth" in line for line in done.feedback.warned)
    assert [row["area_m2"] for row in done.layer().getFeatures()] == pytest.approx([100] * 3)


def test_nothing_found_is_an_answer_too(layers):
    _, there = layers
    nothing = layer_of("nothing", "EPSG:32633", [])
    done = run(EVALUATE, {"DETECTIONS": nothing.id(), "ANNOTATIONS": there.id(), "OUTPUT": "memory:"})
    QgsProject.instance().removeMapLayer(nothing.id())
    assert done.results["MISSED"] == 3
    assert done.results["PRECISION"] is None
    assert done.results["RECALL"] == 0


def test_the_matches_come_in_their_style(layers):
    found, there = layers
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(EVALUATE)
    destination = QgsProcessingOutputLayerDefinition("memory:", QgsProject.instance())
    parameters = {"DETECTIONS": found.id(), "ANNOTATIONS": there.id(), "OUTPUT": destination}
    results, ok = algorithm.run(parameters, context, Feedback())
    assert ok
    details = context.layerToLoadOnCompletionDetails(results["OUTPUT"])
    layer = context.takeResultLayer(results["OUTPUT"])
    details.postProcessor().postProcessLayer(layer, context, Feedback())
    assert [category.value() for category in layer.renderer().categories()] == ["true positive", "false positive", "miss"]
