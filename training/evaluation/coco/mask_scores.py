"""Average precision and F1 of instance masks over a set of images."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from engine.model.instance_model import InstanceModel
from engine.model.postprocess import ImageInstances
from training.data.sample import Sample
from training.evaluation.coco.boundary_masks import BoundaryEvaluation

log = logging.getLogger(__name__)

LOWEST = 0.01  # class probability below which a detection is not worth its mask
_TINY = 1e-9  # nearer to 0 or 1 no probability is taken
_SURE = 0.5  # score from which on precision, recall and F1 take a detection for a building
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
        detections: those scored ``threshold`` or more, without those on crowds.
        boundary_ap: as ``ap``, by mask IoU or boundary IoU, whichever is less (arXiv 2103.16562); None where it was not asked
            for.
    """

    ap: float
    ap50: float
    precision: float
    recall: float
    f1: float
    threshold: float
    images: int
    buildings: int
    detections: int
    boundary_ap: float | None = None


class MaskAccumulator:
    """Collect what was found in images, and what stands there, until it is measured.

    It can be pickled: each worker of a distributed training fills its own, and `merged` puts them together.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[tuple[int, int], list[dict], list[dict]]] = {}

    def add(self, number: int, sample: Sample, found: ImageInstances) -> None:
        """Take the instances found in an image; ``number`` is the image's own."""
        truth = _encoded(torch.from_numpy(sample.masks))
        truth = [entry | {"iscrowd": int(crowd)} for entry, crowd in zip(truth, sample.crowd, strict=True)]
        certainties = [1.0] * len(found.scores) if found.certainties is None else found.certainties.tolist()
        detections = [
            entry | {"score": score, "certainty": certainty}
            for score, certainty, entry in zip(found.scores.tolist(), certainties, _encoded(found.masks), strict=True)
            if entry["area"]
        ]
        self._entries[number] = (sample.image.shape[:2], truth, detections)

    @property
    def numbers(self) -> list[int]:
        """The images' numbers, in rising order."""
        return sorted(self._entries)

    @classmethod
    def merged(cls, parts: Iterable[MaskAccumulator]) -> MaskAccumulator:
        """Put the tallies of several workers together."""
        whole = cls()
        for part in parts:
            whole._entries |= part._entries
        return whole

    def scores(self, *, threshold: float = _SURE, numbers: Collection[int] | None = None, boundary: bool = False) -> MaskScores:
        """Measure; precision, recall and F1 at a score of ``threshold``. The order of the images does not matter.

        Args:
            threshold: of the score.
            numbers: those of the images to measure on; all by default.
            boundary: measure boundary AP too, which takes as long again.
        """
        boundary_ap = self._evaluation(numbers, BoundaryEvaluation).ap if boundary else None
        return _figures(self._evaluation(numbers), threshold, boundary_ap)

    def scores_by_place(self, places: Mapping[str, Collection[int]]) -> tuple[MaskScores, dict[str, MaskScores]]:
        """Measure on all images, and on those of each place, given by their numbers, without matching them again."""
        whole = self._evaluation(None)
        by_place = {
            name: whole.part(numbers) if whole.coco is not None else self._evaluation(numbers)
            for name, numbers in places.items()
        }
        return _figures(whole, _SURE, None), {name: _figures(part, _SURE, None) for name, part in by_place.items()}

    def shifted(self, shift: float) -> MaskAccumulator:
        """Return what would have been found, had ``shift`` been added to all class logits."""
        moved = MaskAccumulator()
        for number, (size, truth, found) in self._entries.items():
            moved._entries[number] = size, truth, [entry | {"score": _shifted(entry, shift)} for entry in found]
        return moved

    def balancing_shift(self, *, numbers: Collection[int] | None = None) -> float:
        """Return what to add to class logits so that as many detections score 0.5 or more as there are buildings.

        Precision and recall are then the same. Detections on crowds do not count. Where fewer are detected at all, or only with
        masks too uncertain to score that much, it is what lets all others in.
        """
        found = self._evaluation(numbers)
        needed = np.sort([_shift_to_a_half(entry) for entry in found.counted()])
        needed = needed[np.isfinite(needed)]
        if not len(needed) or not found.buildings:
            return 0.0
        last = min(found.buildings, len(needed)) - 1
        return float(needed[last : last + 2].mean())

    def _evaluation(self, numbers: Collection[int] | None, kind: type[COCOeval] = COCOeval) -> _Evaluation:
        images, annotations, detections = [], [], []
        for number, ((height, width), truth, found) in sorted(self._entries.items()):
            if numbers is not None and number not in numbers:
                continue
            image = number + 1  # pycocotools takes 0 for "none"
            images.append({"id": image, "height": height, "width": width})
            for entries, collected in ((truth, annotations), (found, detections)):
                for entry in entries:
                    collected.append(entry | {"id": len(collected) + 1, "image_id": image, "category_id": 1})
        return _Evaluation.of(images, annotations, detections, kind)


def score_model(model: InstanceModel, samples: Iterable[Sample], *, threshold: float = 0.5) -> MaskScores:
    """Run a model over images one by one and compare what it finds with what stands there."""
    return measure_model(model, samples).scores(threshold=threshold)


def measure_model(model: InstanceModel, samples: Iterable[Sample]) -> MaskAccumulator:
    """Run a model over images one by one, on the device that it is on, and keep what it finds and what stands there."""
    model.eval()
    device = next(model.parameters()).device
    accumulator = MaskAccumulator()
    for number, sample in enumerate(samples):
        image = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1)[None].to(device)
        accumulator.add(number, sample, model.instances(image, threshold=LOWEST)[0])
    return accumulator


@dataclass(frozen=True)
class _Evaluation:
    """What pycocotools makes of some images; ``coco`` is None where nothing was detected."""

    images: int
    buildings: int
    coco: COCOeval | None

    @classmethod
    def of(cls, images: list[dict], annotations: list[dict], detections: list[dict], kind: type[COCOeval]) -> _Evaluation:
        buildings = sum(not entry["iscrowd"] for entry in annotations)
        if not detections:
            return cls(len(images), buildings, None)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            truth, found = COCO(), COCO()
            categories = [{"id": 1, "name": "building"}]
            for dataset, entries in ((truth, annotations), (found, detections)):
                dataset.dataset = {"images": images, "annotations": entries, "categories": categories}
                dataset.createIndex()
            evaluation = kind(truth, found, "segm")
            most = max(100, *np.bincount([entry["image_id"] for entry in detections]))
            evaluation.params.maxDets = [1, 10, int(most)]
            # Figures are of objects of all sizes; the other three ranges would take three times as long again.
            evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
            evaluation.evaluate()
            evaluation.accumulate()
        return cls(len(images), buildings, evaluation)

    def part(self, numbers: Collection[int]) -> _Evaluation:
        """Return the same of some of the images, if something was detected in any."""
        images = [image for image in self.coco.params.imgIds if image - 1 in numbers]
        buildings = sum(not entry["iscrowd"] for entry in self.coco.cocoGt.anns.values() if entry["image_id"] - 1 in numbers)
        of_image = dict(zip(self.coco.params.imgIds, self.coco.evalImgs, strict=True))
        matched = [of_image[image] for image in images]
        if not any(each is not None and each["dtIds"] for each in matched):
            return _Evaluation(len(images), buildings, None)
        coco = copy(self.coco)
        coco.evalImgs, coco.params = matched, copy(coco.params)
        coco.params.imgIds = images
        coco._paramsEval = coco.params
        with contextlib.redirect_stdout(io.StringIO()):
            coco.accumulate()
        return _Evaluation(len(images), buildings, coco)

    @property
    def ap(self) -> float:
        """Average precision over IoU 0.50 to 0.95; NaN where there is nothing to be found."""
        return 0.0 if self.coco is None else _mean(self.curves)

    @property
    def ap50(self) -> float:
        """Average precision at IoU 0.50."""
        return 0.0 if self.coco is None else _mean(self.curves[:1])

    @property
    def curves(self) -> np.ndarray:
        """Precision at (IoU thresholds, recalls), of objects of all sizes."""
        return self.coco.eval["precision"][:, :, 0, 0, -1]

    def counted(self) -> Iterator[dict]:
        """Yield the detections that count: all but those on crowds."""
        if self.coco is None:
            return
        first = int(np.flatnonzero(self.coco.params.iouThrs == _MATCH)[0])
        for image in self.coco.evalImgs:
            if image is not None:
                for identity, ignored in zip(image["dtIds"], image["dtIgnore"][first], strict=True):
                    if not ignored:
                        yield self.coco.cocoDt.anns[identity]

    def matches(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield of each image the scores (D,) of its detections, which of them are right at IoU 0.5, and which do not count."""
        if self.coco is None:
            return
        first = int(np.flatnonzero(self.coco.params.iouThrs == _MATCH)[0])
        for image in self.coco.evalImgs:
            if image is not None:
                yield np.array(image["dtScores"]), image["dtMatches"][first] > 0, image["dtIgnore"][first]


def _figures(found: _Evaluation, threshold: float, boundary_ap: float | None) -> MaskScores:
    right = claimed = 0
    for scores, correct, ignored in found.matches():
        counted = (scores >= threshold) & ~ignored
        right += int((correct & counted).sum())
        claimed += int(counted.sum())
    precision = right / claimed if claimed else 0.0
    recall = right / found.buildings if found.buildings else 0.0
    return MaskScores(
        ap=found.ap,
        ap50=found.ap50,
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if right else 0.0,
        threshold=threshold,
        images=found.images,
        buildings=found.buildings,
        detections=claimed,
        boundary_ap=boundary_ap,
    )


def _shifted(detection: dict, shift: float) -> float:
    probability = min(detection["score"] / max(detection["certainty"], _TINY), 1 - _TINY)
    return detection["certainty"] / (1 + (1 / max(probability, _TINY) - 1) * math.exp(-shift))


def _shift_to_a_half(detection: dict) -> float:
    """Return what has to be added to a detection's class logit for a score of 0.5; infinite where its mask is too uncertain."""
    certainty = detection["certainty"]
    if certainty <= 0.5:
        return math.inf
    probability = min(max(detection["score"] / certainty, _TINY), 1 - _TINY)
    return math.log(0.5 / (certainty - 0.5)) - math.log(probability / (1 - probability))


def _encoded(masks: Tensor) -> list[dict]:
    """Return annotations of masks (N, H, W) bool, on any device."""
    if not len(masks):
        return []
    by_columns = masks.transpose(1, 2).contiguous().view(torch.uint8).cpu().numpy()  # the order that run lengths are in
    encoded = run_lengths.encode(by_columns.transpose(2, 1, 0))
    return [
        # One by one: with numpy 2, pycocotools fails to return more than 255 areas at once.
        {"segmentation": segmentation, "iscrowd": 0, "area": float(run_lengths.area(segmentation)), "bbox": box}
        for segmentation, box in zip(encoded, run_lengths.toBbox(encoded).tolist(), strict=True)
    ]


def _mean(precision: np.ndarray) -> float:
    return float(precision.mean()) if (precision > -1).all() else float("nan")
