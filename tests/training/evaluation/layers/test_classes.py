"""Comparing layers by class: a match is within a class, and each class is measured as if it were alone."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest

from engine.errors import ArgumentError
from engine.job import Job
from tests.training.evaluation.layers.layers import house, redrawn, street, write
from training.commands.evaluate import EvaluateRequest, run
from training.evaluation.layers.document import class_table, evaluation_document, finite_or_none
from training.evaluation.layers.evaluation import evaluate_layers
from training.evaluation.report.page import write_report

NAMES = ("car", "truck", "bus")


def layers_of(folder, seed: int, *, suffix: str = "gpkg", names: tuple[str, ...] = NAMES):
    """Write detections and annotations of a street of several classes: some missed, moved, invented, of the wrong class."""
    rng = np.random.default_rng(seed)
    there = street(rng, 40)
    classes = rng.choice(names, 40)
    kept = rng.random(40) < 0.8
    found = [shape for shape, keep in zip(redrawn(there, rng, by=0.7), kept, strict=True) if keep]
    seen_as = np.where(rng.random(kept.sum()) < 0.8, classes[kept], rng.choice(names, kept.sum()))
    found += [house(30 * number, 200) for number in range(5)]
    seen_as = np.append(seen_as, rng.choice(names, 5))
    return (
        write(folder / f"found.{suffix}", found, score=rng.uniform(0.3, 1, len(found)), **{"class": seen_as}),
        write(folder / f"there.{suffix}", there, **{"class": classes}),
    )


def rows_of_class(path, name: str, to):
    frame = geopandas.read_file(path)
    frame[frame["class"] == name].drop(columns="class").to_file(to)
    return to


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_of_a_class_are_those_of_its_rows_alone_and_together_they_add_up(tmp_path, seed) -> None:
    found, there = layers_of(tmp_path, seed)
    together = evaluate_layers(found, there)
    assert list(together.by_class) == sorted(NAMES)
    for name, figures in together.by_class.items():
        only = [rows_of_class(path, name, tmp_path / f"{name}_{path.name}") for path in (found, there)]
        alone = evaluate_layers(*only)
        assert alone.by_class == {}
        for figure, value in vars(alone.figures).items():
            assert getattr(figures, figure) == pytest.approx(value, rel=1e-4, nan_ok=True), figure
    for count in ("detections", "annotations", "true_positives", "false_positives", "missed", "area_detected"):
        assert getattr(together.figures, count) == pytest.approx(sum(getattr(f, count) for f in together.by_class.values()))


def test_what_is_found_as_another_class_is_wrong_and_missed(tmp_path) -> None:
    shapes = [house(0, 0), house(40, 0)]
    found = write(tmp_path / "found.gpkg", shapes, score=[0.9, 0.8], **{"class": ["car", "truck"]})
    there = write(tmp_path / "there.gpkg", shapes, **{"class": ["car", "bus"]})
    evaluation = evaluate_layers(found, there)
    figures = evaluation.figures
    assert (figures.true_positives, figures.false_positives, figures.missed) == (1, 1, 1)
    assert evaluation.detection_iou.tolist() == pytest.approx([1, 1])  # it is there, as something else
    assert {name: f.missed for name, f in evaluation.by_class.items()} == {"car": 0, "bus": 1, "truck": 0}


def test_classes_are_told_apart_only_where_both_layers_have_them(tmp_path) -> None:
    found, there = layers_of(tmp_path, 0)
    bare = tmp_path / "bare.gpkg"
    geopandas.read_file(there).drop(columns="class").to_file(bare)
    evaluation = evaluate_layers(found, bare)
    assert evaluation.by_class == {} and evaluation.classes is None
    assert any("bare.gpkg has no field of classes" in text for text in evaluation.warnings)
    assert "by_class" not in evaluation_document(evaluation) and class_table(evaluation) == []
    assert "By class" not in write_report(evaluation)


def test_fields_of_other_names_numbers_and_spellings(tmp_path) -> None:
    shapes = [house(40 * number, 0) for number in range(4)]
    found = write(tmp_path / "found.gpkg", shapes, score=[0.9] * 4, kind=["CAR", "car ", None, "Truck"])
    there = write(tmp_path / "there.gpkg", shapes, type=["Car", "Car", None, "truck"])
    evaluation = evaluate_layers(found, there, class_field="kind", annotated_class_field="type")
    assert evaluation.figures.true_positives == 4
    assert list(evaluation.by_class) == ["(no class)", "Car", "truck"]
    numbered = write(tmp_path / "numbered.geojson", shapes, Class=[1, 2, None, 3])
    whole = write(tmp_path / "whole.gpkg", shapes, **{"class": ["1", "2", "", "3"]})
    assert evaluate_layers(numbered, whole).figures.true_positives == 4
    with pytest.raises(ArgumentError, match=r"class field 'sort' is not in .*there\.gpkg\. It has type"):
        evaluate_layers(found, there, class_field="kind", annotated_class_field="sort")


def test_the_mean_is_over_the_classes_that_have_annotations(tmp_path) -> None:
    shapes = [house(40 * number, 0) for number in range(4)]
    found = write(tmp_path / "f.gpkg", shapes[:3], score=[0.9, 0.8, 0.7], **{"class": ["car", "truck", "bus"]})
    there = write(tmp_path / "t.gpkg", shapes, **{"class": ["car", "truck", "truck", "truck"]})
    document = evaluation_document(evaluate_layers(found, there))
    aps = {name: figures["ap50"] for name, figures in document["by_class"].items()}
    assert aps["bus"] is None and aps["car"] == 1
    assert document["mean_over_classes"]["ap50"] == pytest.approx((aps["car"] + aps["truck"]) / 2)


def test_terminal_json_report_and_matches_have_the_classes(tmp_path) -> None:
    evil = "<b>car</b>"
    found, there = layers_of(tmp_path, 1, names=(evil, "truck"))
    outputs = {name: tmp_path / f"out.{end}" for name, end in (("json", "json"), ("report", "html"), ("output", "gpkg"))}
    request = EvaluateRequest.checked(detections=found, annotations=there, **outputs)
    evaluation = run(request, Job(report=lambda progress: None))
    document = json.loads(outputs["json"].read_text())
    assert document["detections"]["class_field"] == document["annotations"]["class_field"] == "class"
    for name, figures in evaluation.by_class.items():
        assert document["by_class"][name]["f1"] == finite_or_none(figures.f1)
    page = outputs["report"].read_text()
    assert "By class" in page and evil not in page and "&lt;b&gt;car" in page
    matches = geopandas.read_file(outputs["output"])
    assert set(matches["class"]) == {evil, "truck"}
    counts = matches[matches.result == "miss"].groupby("class").size().to_dict()
    assert counts == {name: figures.missed for name, figures in evaluation.by_class.items() if figures.missed}
    head, *rows, means = class_table(evaluation)
    assert [row[0] for row in rows] == list(evaluation.by_class) and means[0] == "mean over classes"
    assert len({len(row) for row in (head, *rows, means)}) == 1
