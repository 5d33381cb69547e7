"""Average precision and F1 of instance masks over a set of images."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine.model.maskdino import MaskDino
from engine.model.postprocess import image_instances
from training.data.sample import Sample

log = logging.getLogger(__name__)

_MATCH = 0.5  # IoU from which on a detection counts as right, in precision, recall and F1


@dataclass(frozen=True)
class MaskScores:
    """COCO's figures for masks (cocodataset.org, "Detection Evaluation"), and precision and recall at one score.

    Attributes:
        ap: average precision over IoU 0.50 to 0.95.
        ap50: average precision at IoU 0.50.
        precision, recall, f1: of the detections scored ``threshold`` or more, each matched to at most one building at IoU
            0.50, the best scored first.
        images, buildings: what the figures rest on.
    """

    ap: float
    ap50: float
    precision: float
    recall: float
    f1: float
    threshold: float
    images: int
    buildings: int


@torch.inference_mode()
def score_model(model: MaskDino, samples: Iterable[Sample], *, threshold: float = 0.5) -> MaskScores:
    """Run a model over images one by one and compare what it finds with what stands there."""
    device = model.pixel_mean.device
    images, annotations, detections = [], [], []
    model.eval()
    for number, sample in enumerate(samples, start=1):
        height, width = sample.image.shape[:2]
        images.append({"id": number, "height": height, "width": width})
        for mask, crowd in zip(sample.masks, sample.crowd, strict=True):
            annotations.append(_annotation(len(annotations) + 1, number, mask, crowd=int(crowd)))
        image = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1)[None].float().to(device)
        found = image_instances(
            model(image),
            0,
            image_size=(height, width),
            padded_size=model.padded_size([(height, width)]),
            count=model.config.detections_per_image,
            threshold=0.01,
        )
        for score, mask in zip(found.scores.tolist(), found.masks.cpu().numpy(), strict=True):
            if mask.any():
                detections.append({**_annotation(len(detections) + 1, number, mask), "score": score})
    return _evaluate(images, annotations, detections, threshold)


def _evaluate(images: list, annotations: list, detections: list, threshold: float) -> MaskScores:
    buildings = sum(not entry["iscrowd"] for entry in annotations)
    if not detections:
        return MaskScores(0.0, 0.0, 0.0, 0.0, 0.0, threshold, len(images), buildings)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth, found = COCO(), COCO()
        categories = [{"id": 1, "name": "building"}]
        for dataset, entries in ((truth, annotations), (found, detections)):
            dataset.dataset = {"images": images, "annotations": entries, "categories": categories}
            dataset.createIndex()
        evaluation = COCOeval(truth, found, "segm")
        most = max(100, *np.bincount([entry["image_id"] for entry in detections]))
        evaluation.params.maxDets = [1, 10, int(most)]
        evaluation.evaluate()
        evaluation.accumulate()
    curves = evaluation.eval["precision"][:, :, 0, 0, -1]  # (IoU thresholds, recalls), all areas, most detections
    right, claimed = _count_right(evaluation, threshold)
    precision = right / claimed if claimed else 0.0
    recall = right / buildings if buildings else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return MaskScores(
        ap=_mean(curves), ap50=_mean(curves[:1]), precision=precision, recall=recall, f1=f1, threshold=threshold,
        images=len(images), buildings=buildings,
    )  # fmt: skip


def _count_right(evaluation: COCOeval, threshold: float) -> tuple[int, int]:
    """Count detections of at least ``threshold`` that match a building at IoU 0.5, and all of them; those on crowds aside."""
    first = int(np.flatnonzero(evaluation.params.iouThrs == _MATCH)[0])
    right = claimed = 0
    for image in evaluation.evalImgs[: len(evaluation.params.imgIds)]:  # the first area range is "all"
        if image is None:
            continue
        counted = (np.array(image["dtScores"]) >= threshold) & ~image["dtIgnore"][first]
        right += int((image["dtMatches"][first][counted] > 0).sum())
        claimed += int(counted.sum())
    return right, claimed


def _annotation(number: int, image: int, mask: np.ndarray, *, crowd: int = 0) -> dict:
    encoded = run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "id": number, "image_id": image, "category_id": 1, "segmentation": encoded, "iscrowd": crowd,
        "area": float(run_lengths.area(encoded)), "bbox": run_lengths.toBbox(encoded).tolist(),
    }  # fmt: skip


def _mean(precision: np.ndarray) -> float:
    return float(precision.mean()) if (precision > -1).all() else float("nan")
