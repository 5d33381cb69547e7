"""Crowds, objects drawn as one and ground that is not labelled change no figure, by COCO's rule for crowds."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import pytest
from PIL import Image

from engine.commands import answer
from engine.errors import ArgumentError
from engine.job import Job
from training.commands.evaluate_coco import table_lines
from training.evaluation.coco.predictions import Result, read_results
from training.evaluation.coco.table import KINDS, CocoRow, coco_row
from training.evaluation.coco.truth import CocoTruth, read_truth

SIDE = 200
BUILDINGS = [(20, 20, 30, 30), (20, 60, 40, 40), (120, 20, 20, 20)]
BORDER = [[0, 0, 200, 0, 200, 10, 0, 10], [0, 190, 200, 190, 200, 200, 0, 200], [0, 0, 10, 0, 10, 200, 0, 200]]
CORNER = [[100, 100, 150, 100, 150, 200, 100, 200], [150, 100, 200, 100, 200, 200, 150, 200]]  # two halves of one square


def ring(left: float, top: float, width: float, height: float) -> list[float]:
    return [left, top, left + width, top, left + width, top + height, left, top + height]


def annotated(folder: Path, *, ignore: list | None = None, more: tuple[dict, ...] = (), categories: int = 1) -> CocoTruth:
    """One image with three buildings and what ``more`` says, the even ones of the last category."""
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (SIDE, SIDE)).save(folder / "images/a.png")
    image = {"id": 1, "file_name": "a.png", "width": SIDE, "height": SIDE} | ({} if ignore is None else {"ignore": ignore})
    annotations = [{"segmentation": [ring(*box)], "category_id": 1 if n % 2 else categories} for n, box in enumerate(BUILDINGS)]
    content = {
        "images": [image],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(1, categories + 1)],
        "annotations": [{"id": n, "image_id": 1, "iscrowd": 0, **a} for n, a in enumerate([*annotations, *more])],
    }
    (folder / "annotation.json").write_text(json.dumps(content))
    return read_truth(folder / "annotation.json", folder / "images")


def detected(truth: CocoTruth, *boxes: tuple[float, float, float, float], score: float = 0.9) -> list[Result]:
    """The three buildings, the last one not quite where it is, and other boxes, which are surer."""
    found = [(box, 0.5 - 0.1 * number) for number, box in enumerate([*BUILDINGS[:2], (122, 20, 20, 20)])]
    results = [
        {"image_id": 1, "category_id": 1, "score": score, "segmentation": [ring(*box)], "bbox": list(box)}
        for box, score in [*found, *((box, score) for box in boxes)]
    ]
    file = truth.file.with_name("results.json")
    file.write_text(json.dumps(results))
    return read_results(file, truth)


def rows(truth: CocoTruth, *boxes: tuple[float, float, float, float]) -> dict[str, CocoRow]:
    return {kind: coco_row(truth.dataset, detected(truth, *boxes), kind) for kind in KINDS}


def same(one: dict[str, CocoRow], other: dict[str, CocoRow]) -> bool:
    return all(astuple(one[kind]) == pytest.approx(astuple(other[kind]), nan_ok=True) for kind in KINDS)


@pytest.mark.parametrize(
    "box",
    [(110, 110, 30, 30), (135, 120, 30, 30), (100, 100, 100, 100)],
    ids=["on one ring", "across both", "all of it"],
)
def test_detections_on_ignored_ground_change_no_figure(tmp_path, box) -> None:
    plain = annotated(tmp_path)
    before, spoiled = rows(plain), rows(plain, box)
    assert all(spoiled[kind].ap < before[kind].ap for kind in KINDS)  # they are wrong where nothing is said of the ground
    assert same(rows(annotated(tmp_path, ignore=CORNER), box), before)


def test_a_detection_counts_as_wrong_beyond_the_share_of_it_on_ignored_ground(tmp_path) -> None:
    """60 % of it lies there: it does not count at IoU 0.5, and is wrong at 0.75."""
    box = (80, 110, 50, 50)
    plain = annotated(tmp_path)
    before, spoiled = rows(plain), rows(plain, box)
    half = rows(annotated(tmp_path, ignore=CORNER), box)
    for kind in KINDS:
        assert half[kind].ap50 == before[kind].ap50 > spoiled[kind].ap50
        assert half[kind].ap75 == spoiled[kind].ap75 < before[kind].ap75
        assert half[kind].ar == before[kind].ar


def test_wrong_detections_beside_ignored_ground_stay_wrong(tmp_path) -> None:
    """The box around a border is the whole image."""
    box = (80, 110, 50, 50)
    assert same(rows(annotated(tmp_path, ignore=BORDER), box), rows(annotated(tmp_path), box))


def test_a_building_on_ignored_ground_that_is_annotated_can_be_found_and_missed(tmp_path) -> None:
    ground = [ring(10, 10, 60, 100)]
    found, missed = annotated(tmp_path, ignore=ground), annotated(tmp_path)
    assert same(rows(found), rows(missed))
    for truth in (found, missed):
        assert coco_row(truth.dataset, detected(truth)[1:], "mask").ar50 == pytest.approx(2 / 3)


@pytest.mark.parametrize("field", ["merged", "iscrowd"])
def test_a_block_drawn_as_one_is_neither_hit_nor_miss(tmp_path, field) -> None:
    block = {"segmentation": [ring(110, 110, 80, 80)], "category_id": 1}
    before = rows(annotated(tmp_path))
    houses = [(110, 110, 40, 40), (150, 110, 40, 40), (110, 150, 80, 40)]
    as_one = annotated(tmp_path, more=({**block, field: 1},))
    assert same(rows(as_one), before)  # no miss
    assert same(rows(as_one, *houses), before) and same(rows(as_one, (110, 110, 80, 80)), before)  # nor hits
    assert not same(rows(annotated(tmp_path, more=(block,))), before)
    assert (as_one.objects, as_one.merged, as_one.crowds) == (3, int(field == "merged"), int(field == "iscrowd"))


def test_ignored_ground_is_none_of_any_category(tmp_path) -> None:
    plain, ground = annotated(tmp_path, categories=2), annotated(tmp_path, ignore=CORNER, categories=2)
    *right, wrong = detected(plain, (110, 110, 30, 30))
    right = [{**result, "category_id": category} for result, category in zip(right, (2, 1, 2), strict=True)]
    for kind in KINDS:
        before = coco_row(plain.dataset, right, kind)
        for category in (1, 2):
            results = [*right, {**wrong, "category_id": category}]
            assert coco_row(plain.dataset, results, kind).ap < before.ap
            assert astuple(coco_row(ground.dataset, results, kind)) == pytest.approx(astuple(before), nan_ok=True)


def test_the_command_says_what_it_left_out(tmp_path) -> None:
    block = {"segmentation": [ring(110, 110, 80, 80)], "category_id": 1}
    truth = annotated(tmp_path, ignore=CORNER, more=({**block, "merged": 1}, {**block, "iscrowd": 1}), categories=2)
    detected(truth)
    document = answer(
        "evaluate-coco",
        {"images": str(tmp_path / "images"), "annotations": str(truth.file), "results": str(tmp_path / "results.json")},
        Job(report=lambda progress: None),
    )
    assert document["objects"] == 3 and len(document["repairs"]) == 2
    assert all(what.endswith("measured again") for what in document["repairs"])
    assert [document[name] for name in ("crowds", "merged", "images_with_ignored_ground")] == [1, 1, 1]
    assert sum("where nothing is counted as found, missed or wrong: 1" in line for line in table_lines(document)) == 3


@pytest.mark.parametrize("broken", [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, float("nan")]])
def test_a_malformed_ring_is_refused_by_the_name_of_its_image(tmp_path, broken) -> None:
    with pytest.raises(ArgumentError, match=r"has an ignore polygon .*a\.png \(id 1\)"):
        annotated(tmp_path, ignore=[*CORNER, broken])
