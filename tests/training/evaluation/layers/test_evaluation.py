"""Layers against layers: what counts, in which CRS, and what odd layers come to."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

import geopandas
import numpy as np
import pytest
import shapely
from shapely import affinity

from engine.errors import ArgumentError, VectorError
from tests.training.evaluation.layers.layers import house, redrawn, street, write
from training.evaluation.layers.evaluation import evaluate_layers
from training.evaluation.layers.figures import LayerFigures


@pytest.fixture
def town(tmp_path):
    """Two layers with a bit of everything: 40 houses, 35 of them found, 3 twice, and 5 houses that are not there."""
    rng = np.random.default_rng(7)
    there = street(rng, 40)
    found = [*redrawn(there[:35], rng, by=0.7), *redrawn(there[:3], rng, by=0.7), *(house(30 * n, 400) for n in range(5))]
    scores = rng.permutation(len(found)) / len(found)
    return found, there, scores


def figures_close(first: LayerFigures, second: LayerFigures, **tolerance) -> bool:
    return all(value == pytest.approx(asdict(second)[name], nan_ok=True, **tolerance) for name, value in asdict(first).items())


def test_what_is_right_wrong_and_missed(tmp_path):
    there = [house(0, 0), house(30, 0), house(60, 0)]
    found = [house(1, 0), house(0, 1), house(30, 6), house(200, 0)]
    evaluation = evaluate_layers(
        write(tmp_path / "f.gpkg", found, score=[0.9, 0.8, 0.7, 0.6]), write(tmp_path / "t.gpkg", there)
    )
    figures = evaluation.figures
    assert evaluation.matched.tolist() == [0, -1, -1, -1]
    assert evaluation.missed.tolist() == [1, 2]
    assert (figures.true_positives, figures.false_positives, figures.missed) == (1, 3, 2)
    assert (figures.precision, figures.recall) == (pytest.approx(1 / 4), pytest.approx(1 / 3))
    assert figures.f1 == pytest.approx(2 / 7)
    assert figures.mean_iou == pytest.approx(90 / 110)
    assert evaluation.detection_iou == pytest.approx([90 / 110, 90 / 110, 4 / 16, 0], abs=1e-6)
    assert evaluation.annotation_iou == pytest.approx([90 / 110, 4 / 16, 0], abs=1e-6)
    assert figures.area_annotated == pytest.approx(300, rel=3e-3)  # UTM is not true to the ground, the figure is


def test_a_copy_is_perfect(tmp_path, town):
    path = write(tmp_path / "a.gpkg", town[1])
    figures = evaluate_layers(path, path).figures
    assert (figures.precision, figures.recall, figures.f1, figures.ap50, figures.ap) == (1, 1, 1, 1, 1)
    assert (figures.polis, figures.area_error, figures.direction_error) == (0, 0, 0)
    assert figures.boundary_iou == pytest.approx(1)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32644", "EPSG:6207"])
def test_the_crs_does_not_matter(tmp_path, town, crs):
    found, there, scores = town
    known = evaluate_layers(write(tmp_path / "f.gpkg", found, score=scores), write(tmp_path / "t.gpkg", there)).figures
    moved = evaluate_layers(
        write(tmp_path / "f2.gpkg", found, score=scores, to=crs), write(tmp_path / "t2.gpkg", there, to="EPSG:4326")
    ).figures
    assert figures_close(known, moved, rel=1e-3, abs=2e-3)  # datums are known to the millimetre, no better


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb", "shp", "parquet"])
def test_the_format_does_not_matter(tmp_path, town, suffix):
    found, there, scores = town
    known = evaluate_layers(write(tmp_path / "f.gpkg", found, score=scores), write(tmp_path / "t.gpkg", there)).figures
    paths = [tmp_path / f"Häuser {name}.{suffix}" for name in "ft"]
    to = "EPSG:4326" if suffix == "geojson" else None
    write(paths[0], found, score=scores, to=to)
    write(paths[1], there, to=to)
    # GeoJSON keeps seven decimals of a degree, a centimetre; FlatGeobuf has an order of its own.
    assert figures_close(known, evaluate_layers(*paths).figures, abs=0.1 if suffix == "geojson" else 1e-6)


def test_the_order_of_rows_does_not_matter(tmp_path, town):
    found, there, scores = town
    rng = np.random.default_rng(0)
    first, second = rng.permutation(len(found)), rng.permutation(len(there))
    known = evaluate_layers(write(tmp_path / "f.gpkg", found, score=scores), write(tmp_path / "t.gpkg", there)).figures
    mixed = evaluate_layers(
        write(tmp_path / "f2.gpkg", [found[i] for i in first], score=scores[first]),
        write(tmp_path / "t2.gpkg", [there[i] for i in second]),
    ).figures
    assert figures_close(known, mixed, rel=1e-9, abs=1e-9)


def test_on_both_sides_of_the_antimeridian(tmp_path):
    there = [affinity.translate(shapely.box(0, 0, 1e-4, 1e-4), x, 10) for x in (179.9998, -179.9999)]
    found = [affinity.translate(shapely.box(0, 0, 1e-4, 1e-4), x, 10) for x in (179.9998, 180.0001)]
    figures = evaluate_layers(
        write(tmp_path / "f.gpkg", found, crs="EPSG:4326"), write(tmp_path / "t.gpkg", there, crs="EPSG:4326")
    ).figures
    assert (figures.true_positives, figures.mean_iou) == (2, pytest.approx(1, abs=1e-6))
    assert figures.area_annotated == pytest.approx(2 * 10.96 * 11.06, rel=0.01)


# An area


@pytest.mark.parametrize("crs", ["EPSG:32645", "EPSG:4326", "EPSG:3857"])
def test_what_lies_inside_by_more_than_half_counts(tmp_path, crs):
    there = [house(0, 0), house(44, 0), house(46, 0), house(80, 0)]
    area = write(tmp_path / "a.gpkg", [house(-5, -5, 55, 30)], to=crs)
    layers = write(tmp_path / "f.gpkg", there[:3]), write(tmp_path / "t.gpkg", there)
    evaluation = evaluate_layers(*layers, aoi=area)
    assert (evaluation.figures.detections, evaluation.figures.annotations) == (2, 2)
    assert evaluation.figures.f1 == 1
    assert evaluate_layers(*layers).figures.annotations == 4


def test_the_area_may_be_the_world_or_elsewhere(tmp_path):
    layer = write(tmp_path / "t.gpkg", [house(0, 0)])
    world = write(tmp_path / "w.gpkg", [shapely.box(-180, -90, 180, 90)], crs="EPSG:4326")
    far = write(tmp_path / "far.gpkg", [shapely.box(10, 10, 11, 11)], crs="EPSG:4326")
    assert evaluate_layers(layer, layer, aoi=world).figures.f1 == 1
    evaluation = evaluate_layers(layer, layer, aoi=far)
    assert evaluation.figures.annotations == 0
    assert "beside" in " ".join(evaluation.warnings)


def test_an_area_without_crs_is_in_that_of_the_annotations(tmp_path):
    there = write(tmp_path / "t.gpkg", [house(0, 0), house(100, 0)])
    found = write(tmp_path / "f.gpkg", [house(0, 0), house(100, 0)], to="EPSG:4326")
    evaluation = evaluate_layers(found, there, aoi=write(tmp_path / "a.gpkg", [house(-5, -5, 30, 30)], crs=None))
    assert (evaluation.figures.annotations, evaluation.figures.f1) == (1, 1)
    assert "a.gpkg has no CRS" in " ".join(evaluation.warnings)


# Odd layers


def test_empty_layers_have_no_figures_where_there_is_nothing_to_say(tmp_path):
    some, none = write(tmp_path / "t.gpkg", [house(0, 0)]), write(tmp_path / "n.gpkg", [])
    nothing_found = evaluate_layers(none, some).figures
    assert (nothing_found.recall, nothing_found.f1, nothing_found.ap50, nothing_found.ap) == (0, 0, 0, 0)
    assert np.isnan(nothing_found.precision) and np.isnan(nothing_found.polis)
    nothing_there = evaluate_layers(some, none).figures
    assert (nothing_there.precision, nothing_there.f1) == (0, 0)
    assert np.isnan(nothing_there.recall) and np.isnan(nothing_there.ap)
    nothing = evaluate_layers(none, none).figures
    assert (nothing.detections, nothing.annotations) == (0, 0)
    assert np.isnan(nothing.f1)


def test_scores_are_looked_for_named_or_said_to_be_missing(tmp_path):
    # the better score sits on the wrong house
    found, there = [house(0, 0), house(99, 99)], write(tmp_path / "t.gpkg", [house(0, 0)])
    assert evaluate_layers(write(tmp_path / "a.gpkg", found, Score=[0.1, 0.9]), there).figures.ap50 == pytest.approx(0.5)
    assert evaluate_layers(write(tmp_path / "b.gpkg", found, confidence=[0.1, 0.9]), there).figures.ap50 == pytest.approx(0.5)
    named = write(tmp_path / "c.gpkg", found, score=[0.9, 0.1], sure=[0.1, 0.9])
    assert evaluate_layers(named, there).figures.ap50 == 1
    assert evaluate_layers(named, there, score_field="sure").figures.ap50 == pytest.approx(0.5)
    bare = evaluate_layers(write(tmp_path / "d.gpkg", found), there)
    assert bare.scores.tolist() == [1, 1]
    assert "no scores" in " ".join(bare.warnings)
    with pytest.raises(ArgumentError, match=r"'wobble' is not in .*c\.gpkg\. It has score, sure"):
        evaluate_layers(named, there, score_field="wobble")
    with pytest.raises(ArgumentError, match="holds no numbers"):
        evaluate_layers(write(tmp_path / "e.gpkg", found, score=["high", "low"]), there)


def test_detections_without_a_score_come_last(tmp_path):
    found = write(tmp_path / "f.gpkg", [house(99, 99), house(0, 0)], score=[np.nan, 0.1])
    evaluation = evaluate_layers(found, write(tmp_path / "t.gpkg", [house(0, 0)]))
    assert evaluation.figures.ap50 == 1
    assert "1 detections have no score" in evaluation.warnings[0]


def test_a_building_in_parts_is_one_and_crossed_outlines_are_mended(tmp_path):
    parts = shapely.MultiPolygon([house(0, 0), house(12, 0)])
    overlapping = shapely.MultiPolygon([house(40, 0), house(45, 0)])
    bow = shapely.Polygon([(x + 360_000, y + 3_050_000) for x, y in [(80, 0), (90, 10), (90, 0), (80, 10)]])
    path = write(tmp_path / "t.gpkg", [parts, overlapping, bow])
    evaluation = evaluate_layers(path, path)
    assert evaluation.figures.true_positives == 3
    assert evaluation.annotations.mended == 2
    assert shapely.area(evaluation.annotated) == pytest.approx([200, 150, 50], rel=3e-3)
    separate = evaluate_layers(write(tmp_path / "f.gpkg", [house(0, 0), house(12, 0)]), path).figures
    assert (separate.true_positives, separate.false_positives, separate.missed) == (1, 1, 2)


def test_points_lines_and_nothing_are_left_out_and_said(tmp_path, caplog):
    path = tmp_path / "t.geojson"
    features = [{"type": "Feature", "id": 1, "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in (
        shapely.Point(1, 1), shapely.LineString([(0, 0), (1, 1)]), shapely.box(1, 1, 1.0001, 1.0001),
        shapely.GeometryCollection([shapely.Point(0, 0), shapely.box(2, 2, 2.0001, 2.0001)]))]  # fmt: skip
    features.append({"type": "Feature", "id": 1, "properties": {}, "geometry": None})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with caplog.at_level(logging.INFO, logger="engine"):
        figures = evaluate_layers(path, path).figures  # ids appear several times, too
    assert (figures.annotations, figures.true_positives) == (2, 2)
    assert "1 of 5 features have no geometry" in caplog.text
    assert "2 of 5 features are no polygons" in caplog.text


def test_layers_without_crs_are_measured_in_their_own_units(tmp_path):
    boxes = [shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10)]
    found = [shapely.box(1, 0, 11, 10)]
    evaluation = evaluate_layers(write(tmp_path / "f.gpkg", found, crs=None), write(tmp_path / "t.gpkg", boxes, crs=None))
    assert (evaluation.unit, evaluation.figures.polis, evaluation.figures.area_annotated) == ("units", 0.5, 200)
    assert "own units" in " ".join(evaluation.warnings)


def test_a_layer_without_crs_is_taken_for_the_others(tmp_path):
    found, there = write(tmp_path / "f.gpkg", [house(0, 0)], crs=None), write(tmp_path / "t.gpkg", [house(0, 0)])
    evaluation = evaluate_layers(found, there)
    assert evaluation.figures.f1 == 1
    assert "f.gpkg has no CRS" in evaluation.warnings[1]


def test_layers_of_different_ground_are_said_to_be(tmp_path):
    found = write(tmp_path / "f.gpkg", [house(0, 0)], crs="EPSG:32646")
    evaluation = evaluate_layers(found, write(tmp_path / "t.gpkg", [house(0, 0)]))
    assert evaluation.figures.true_positives == 0
    assert "different ground" in " ".join(evaluation.warnings)


def test_files_that_are_none_are_refused(tmp_path):
    good = write(tmp_path / "t.gpkg", [house(0, 0)])
    (tmp_path / "text.gpkg").write_text("no layer")
    (tmp_path / "text.parquet").write_text("no layer")
    with pytest.raises(VectorError, match=r"detections .*nowhere\.gpkg does not exist"):
        evaluate_layers(tmp_path / "nowhere.gpkg", good)
    for name in ("text.gpkg", "text.parquet"):
        with pytest.raises(VectorError, match=r"annotations .*text\.\w+ cannot be read"):
            evaluate_layers(good, tmp_path / name)
    with pytest.raises(ArgumentError, match="boundary_width is 0"):
        evaluate_layers(good, good, boundary_width=0)


def test_a_layer_of_a_file_with_several_is_named(tmp_path):
    path = write(tmp_path / "t.gpkg", [house(0, 0)])
    geopandas.GeoDataFrame(geometry=[house(0, 0), house(50, 0)], crs="EPSG:32645").to_file(path, layer="other")
    with pytest.raises(VectorError, match="2 layers: t, other"):
        evaluate_layers(path, f"{path}|layername=t")
    assert evaluate_layers(f"{path}|layername=other", f"{path}|layername=t").figures.false_positives == 1


def test_real_buildings_against_themselves(shared_data):
    path = shared_data / "banepa" / "buildings.gpkg"
    figures = evaluate_layers(path, path, aoi=shared_data / "banepa" / "labelled_area.gpkg").figures
    assert figures.annotations > 900
    assert (figures.f1, figures.ap) == (1, 1)
