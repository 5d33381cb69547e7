"""The same footprints as a COCO file and as layers give the same average precision."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import shapely
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.training.evaluation.layers.layers import ORIGIN, write
from training.evaluation.average_precision import precision_recall
from training.evaluation.layers.evaluation import evaluate_layers

SIDE = 96  # pixels of an image
GSD = 0.3


def blocks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Masks (N, SIDE, SIDE) of L-shaped buildings; some overlap."""
    masks = np.zeros((count, SIDE, SIDE), dtype=np.uint8)
    for mask in masks:
        col, row = rng.integers(0, SIDE - 24, 2)
        width, height, wing = rng.integers(5, 24), rng.integers(5, 24), rng.integers(1, 6)
        mask[row : row + height, col : col + wing] = 1
        mask[row : row + wing, col : col + width] = 1
    return masks


def shaken(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    moved = [np.roll(mask, rng.integers(-1, 2, 2), (0, 1)) for mask in masks]
    return np.array(moved, dtype=np.uint8).reshape(-1, SIDE, SIDE)


def outline(mask: np.ndarray, image: int) -> shapely.Geometry:
    """Return the pixels of a mask on the ground; images lie beside one another."""
    rows, cols = np.nonzero(mask)
    pixels = shapely.union_all(shapely.box(cols, -rows - 1, cols + 1, -rows))
    return shapely.transform(pixels, lambda points: (points + np.array([200.0 * image, 0.0])) * GSD + ORIGIN)


def coco_figures(images: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Average precision at each IoU by pycocotools; images are of annotated masks, detected masks and scores."""
    truth, found = COCO(), COCO()
    entries: tuple[list, list] = ([], [])
    for number, (annotated, detected, scores) in enumerate(images, start=1):
        for side, masks, values in zip(entries, (annotated, detected), (np.ones(len(annotated)), scores), strict=True):
            for mask, score in zip(masks, values, strict=True):
                encoded = run_lengths.encode(np.asfortranarray(mask))
                side.append({
                    "id": len(side) + 1, "image_id": number, "category_id": 1, "segmentation": encoded, "iscrowd": 0,
                    "area": float(mask.sum()), "score": float(score), "bbox": run_lengths.toBbox(encoded).tolist(),
                })  # fmt: skip
    pictures = [{"id": number + 1, "height": SIDE, "width": SIDE} for number in range(len(images))]
    with contextlib.redirect_stdout(io.StringIO()):
        for dataset, annotations in zip((truth, found), entries, strict=True):
            dataset.dataset = {"images": pictures, "annotations": annotations, "categories": [{"id": 1, "name": "building"}]}
            dataset.createIndex()
        evaluation = COCOeval(truth, found, "segm")
        evaluation.params.maxDets = [1, 10, 10_000]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, 0, -1].mean(axis=1)


@pytest.mark.parametrize("crs", [(None, None), ("EPSG:32645", None), ("EPSG:32645", "EPSG:4326"), ("EPSG:32645", "EPSG:3857")])
@pytest.mark.parametrize("seed", range(4))
def test_layers_and_coco_agree(tmp_path, seed, crs):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(3):
        annotated = blocks(rng, 12)
        detected = np.concatenate([shaken(annotated[:10], rng), shaken(annotated[:3], rng), blocks(rng, 4)])
        images.append((annotated, detected, rng.random(len(detected))))
    there = [outline(mask, number) for number, image in enumerate(images) for mask in image[0]]
    found = [outline(mask, number) for number, image in enumerate(images) for mask in image[1]]
    scores = np.concatenate([image[2] for image in images])
    known, other = crs
    detections = write(tmp_path / "found.gpkg", found, crs=known, to=other, score=scores)
    annotations = write(tmp_path / "there.gpkg", there, crs=known)
    figures = evaluate_layers(detections, annotations).figures
    expected = coco_figures(images)
    assert figures.ap50 == pytest.approx(expected[0], abs=1e-6)
    assert figures.ap75 == pytest.approx(expected[5], abs=1e-6)
    assert figures.ap == pytest.approx(expected.mean(), abs=1e-6)


def test_all_right_is_one_and_nothing_found_is_zero():
    assert precision_recall(np.ones(3, bool), np.arange(3.0), annotations=3).average_precision == 1
    assert precision_recall(np.zeros(0, bool), np.zeros(0), annotations=3).average_precision == 0
    assert np.isnan(precision_recall(np.zeros(2, bool), np.zeros(2), annotations=0).average_precision)


def test_the_best_f1_lets_equal_scores_in_together():
    curve = precision_recall(np.array([True, False, True, False, False]), np.array([0.9, 0.9, 0.8, 0.2, 0.1]), annotations=2)
    f1, score = curve.best_f1()
    assert (f1, score) == (pytest.approx(0.8), 0.8)
