"""Box and mask tables: those of pycocotools, to the last digit by either program; boundary AP as published."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine.errors import ArgumentError
from tests.training.data.coco.coco_folder import repaired
from training.evaluation.coco.boundary_masks import boundary_of
from training.evaluation.coco.predictions import read_results
from training.evaluation.coco.table import COLUMNS, DECIMALS, CocoRow, coco_row
from training.evaluation.coco.truth import NO_PIXEL, CocoTruth, read_truth

SIDE = 300


@pytest.fixture
def folder(tmp_path):
    """A data set in the MapChallenge layout, with results: 6 images, one without objects, objects of all sizes, a crowd."""
    rng = np.random.default_rng(5)
    (tmp_path / "images").mkdir()
    images, annotations, results = [], [], []
    for number in range(1, 7):
        images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": SIDE, "height": SIDE})
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "images" / f"{number:012d}.jpg")
        for _ in range(0 if number == 4 else 9):
            left, top = rng.uniform(0, 240, 2)
            width, height = rng.choice([12, 40, 110]) * rng.uniform(0.7, 1.3, 2)
            width, height = min(width, SIDE - left), min(height, SIDE - top)
            outline = [left, top, left + width, top, left + width, top + height, left, top + height]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": 100, "iscrowd": 0, "area": width * height,
                "segmentation": [outline], "bbox": [left, top, width, height],
            })  # fmt: skip
            for _ in range(rng.integers(0, 3)):
                results.append(_result(rng, number, np.array(outline)))
        results += [_result(rng, number, np.array([5, 5, 40, 5, 40, 40, 5, 40.0])) for _ in range(8)]
    annotations[3]["iscrowd"] = 1
    content = {"images": images, "annotations": annotations, "categories": [{"id": 100, "name": "building"}]}
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path


def _result(rng: np.random.Generator, image: int, outline: np.ndarray) -> dict:
    moved = np.clip(outline.reshape(-1, 2) + rng.normal(0, 4, 2) + rng.normal(0, 1, (4, 2)), 0, SIDE)
    (left, top), (right, bottom) = moved.min(axis=0), moved.max(axis=0)
    return {
        "image_id": image, "category_id": 100, "score": float(rng.random()), "segmentation": [moved.ravel().tolist()],
        "bbox": [left, top, right - left, bottom - top],
    }  # fmt: skip


def read(folder) -> tuple[CocoTruth, list]:
    truth = read_truth(folder / "annotation.json", folder / "images")
    return truth, read_results(folder / "results.json", truth)


def edit(folder, change) -> None:
    content = json.loads((folder / "annotation.json").read_text())
    change(content)
    (folder / "annotation.json").write_text(json.dumps(content))


def plain_pycocotools(folder, kind: str, most: int) -> np.ndarray:
    """The twelve figures of pycocotools, straight from the files."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotation.json"))
        results = json.loads((folder / "results.json").read_text())
        for result in results:
            result["segmentation"] = run_lengths.merge(run_lengths.frPyObjects(result["segmentation"], SIDE, SIDE))
            if kind == "segm":
                del result["bbox"]  # pycocotools would measure sizes by it
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("backend", ["pycocotools", "faster-coco-eval"])
def test_the_figures_are_those_of_pycocotools_on_the_file(folder, kind, backend):
    if backend == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    truth, results = read(folder)
    row = coco_row(truth.dataset, results, kind, backend=backend)
    stats = plain_pycocotools(folder, {"box": "bbox", "mask": "segm"}[kind], 100)
    assert 0.05 < row.ap < 0.95
    assert row.values()[:6] == tuple(np.round(stats[:6], DECIMALS))
    assert row.ar == round(stats[8], DECIMALS)
    assert len(row.values()) == len(COLUMNS)


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("most", [1, 5, 100, 1000])
def test_both_programs_agree_to_the_last_digit(folder, kind, most):
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    truth, results = read(folder)
    rows = [
        coco_row(truth.dataset, results, kind, max_detections=most, backend=name)
        for name in ("pycocotools", "faster-coco-eval")
    ]
    assert rows[0].values() == rows[1].values()


def test_fewer_detections_an_image_find_less(folder):
    truth, results = read(folder)
    recalls = [coco_row(truth.dataset, results, "mask", max_detections=most).ar for most in (1, 5, 100)]
    assert recalls == sorted(recalls) and recalls[0] < recalls[2]
    with pytest.raises(ArgumentError, match="max_detections is 0"):
        coco_row(truth.dataset, results, "mask", max_detections=0)


def test_nothing_found_is_zero_and_nothing_there_is_nothing(folder):
    truth, results = read(folder)
    row = coco_row(truth.dataset, [], "mask")
    assert row.values() == (0.0,) * 9
    empty = {**truth.dataset, "annotations": []}
    for kind in ("box", "mask", "boundary"):
        assert np.isnan(coco_row(empty, results, kind).values()).all()
        assert np.isnan(coco_row(empty, [], kind).values()).all()


def test_the_truth_itself_is_perfect(folder):
    truth, _ = read(folder)
    results = [{**annotation, "score": 1.0} for annotation in truth.dataset["annotations"] if not annotation["iscrowd"]]
    for kind in ("box", "mask", "boundary"):
        assert coco_row(truth.dataset, results, kind) == CocoRow(*[1.0] * 9)


# Boundaries


def eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """Take off a ring of pixels, diagonal neighbours included, again and again."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        mask = np.min([padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i in range(3) for j in range(3)], axis=0)
    return mask


@pytest.mark.parametrize("size", [(300, 300), (60, 200), (20, 20)])
def test_boundaries_are_what_erosion_takes_off(size):
    rng = np.random.default_rng(1)
    mask = np.zeros(size, dtype=np.uint8)
    for _ in range(6):
        row, col = rng.integers(0, size[0]), rng.integers(0, size[1])
        mask[row : row + size[0] // 2, col : col + size[1] // 3] = 1
    reach = max(1, round(0.02 * float(np.hypot(*size))))
    boundary = run_lengths.decode(boundary_of(run_lengths.encode(np.asfortranarray(mask))))
    assert (boundary == mask - eroded(mask, reach)).all()
    assert boundary.sum() > 0


def test_an_empty_mask_has_no_boundary():
    empty = run_lengths.encode(np.zeros((30, 30), dtype=np.uint8, order="F"))
    assert run_lengths.area(boundary_of(empty)) == 0


def test_boundary_ap_is_never_above_mask_ap(folder):
    truth, results = read(folder)
    masks, boundaries = (coco_row(truth.dataset, results, kind) for kind in ("mask", "boundary"))
    assert 0 < boundaries.ap < masks.ap


def test_boundaries_left_undrawn_change_nothing(folder, monkeypatch):
    truth, results = read(folder)
    quick = coco_row(truth.dataset, results, "boundary")
    monkeypatch.setattr("training.evaluation.coco.boundary_masks._ROUNDING", 2.0)  # draws them all
    assert coco_row(truth.dataset, results, "boundary") == quick


# Files as they come


def test_images_without_objects_and_crowds_are_counted(folder):
    truth, _ = read(folder)
    assert (len(truth.images), truth.empty_images, truth.objects, truth.crowds) == (6, 1, 44, 1)
    assert truth.repairs == {}


def test_wrong_boxes_and_areas_are_made_anew(folder):
    truth, results = read(folder)
    right = [coco_row(truth.dataset, results, kind) for kind in ("box", "mask")]

    def spoil(content):
        for annotation in content["annotations"]:
            annotation["bbox"] = annotation["bbox"][::-1]
            annotation["area"] = 0.0
        del content["annotations"][0]["bbox"], content["annotations"][1]["area"]

    edit(folder, spoil)
    spoilt, results = read(folder)
    assert repaired(spoilt.repairs, "has a bbox") > 40 and repaired(spoilt.repairs, "has an area") == 45
    for before, kind in zip(right, ("box", "mask"), strict=True):
        assert coco_row(spoilt.dataset, results, kind).values() == pytest.approx(before.values(), abs=0.03)


def test_ids_that_occur_again_lose_no_object(folder):
    edit(folder, lambda content: [annotation.update(id=0) for annotation in content["annotations"]])
    truth, results = read(folder)
    assert truth.objects == 44
    assert truth.repairs == {"an annotation has an id that another annotation has, or none; numbered again": 44}
    assert coco_row(truth.dataset, results, "mask").ap > 0.05


def test_objects_that_cover_no_pixel_count_as_misses_and_what_encloses_nothing_does_not(folder):
    before = coco_row(*_of(read(folder)), "mask").ar

    def shrink(content):
        outlines = ([], None, [[1, 1, 2, 2]], [[float("nan")] * 6], [[4.5, 4.5, 4.52, 4.5, 4.52, 4.52]])
        for annotation, segmentation in zip(content["annotations"][10:], outlines, strict=False):
            annotation["segmentation"] = segmentation

    edit(folder, shrink)
    truth, results = read(folder)
    assert truth.objects == 40 and truth.repairs[NO_PIXEL] == 1
    assert repaired(truth.repairs, "no segmentation") == repaired(truth.repairs, "neither rings") == 2
    shown = {annotation["image_id"] for annotation in truth.dataset["annotations"] if not annotation["area"]}
    assert len(shown) == 1 and coco_row(truth.dataset, results, "mask").ar < before


def _of(pair):
    return pair[0].dataset, pair[1]


def test_run_lengths_are_read_in_both_spellings(folder):
    truth, results = read(folder)
    known = coco_row(truth.dataset, results, "mask")

    def rewrite(content):
        for number, annotation in enumerate(content["annotations"]):
            encoded = run_lengths.merge(run_lengths.frPyObjects(annotation["segmentation"], SIDE, SIDE))
            if number % 2:
                annotation["segmentation"] = {"size": [SIDE, SIDE], "counts": encoded["counts"].decode("ascii")}
            else:
                flat = run_lengths.decode(encoded).ravel(order="F")
                ends = np.flatnonzero(np.diff(flat)) + 1
                runs = np.diff([0, *ends, flat.size]).tolist()
                annotation["segmentation"] = {"size": [SIDE, SIDE], "counts": [0, *runs] if flat[0] else runs}

    edit(folder, rewrite)
    truth, results = read(folder)
    assert coco_row(truth.dataset, results, "mask") == known


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda content: content["images"].append({**content["images"][0], "id": 9, "file_name": "gone.jpg"}),
            "gone.jpg .id 9",
        ),
        (lambda content: content.pop("annotations"), "has no images or no annotations"),
        (lambda content: content["images"][0].update(width=301), "is 300x300 pixels, its annotation says 301x300"),
        (lambda content: content["images"][0].pop("id"), "has no id or no file_name"),
    ],
)
def test_files_that_cannot_be_measured_by_are_refused(folder, change, named):
    edit(folder, change)
    with pytest.raises(ArgumentError, match=named):
        read_truth(folder / "annotation.json", folder / "images")


def test_results_that_do_not_fit_are_refused(folder):
    truth, _ = read(folder)
    for content, named in [
        ("{", "cannot be read"), ("{}", "no list"), ('[{"image_id": 1}]', "without 'category_id'"),
        ('[{"image_id": 99, "category_id": 100}]', "detection 0 is of an image"),
    ]:  # fmt: skip
        (folder / "results.json").write_text(content)
        with pytest.raises(ArgumentError, match=named):
            read_results(folder / "results.json", truth)
