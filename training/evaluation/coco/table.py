"""Average precision and recall as COCO defines them, in the columns of the published MapChallenge results."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from engine.errors import ArgumentError
from training.evaluation.coco.truth import IGNORED

Kind = Literal["box", "mask", "boundary"]
KINDS: tuple[Kind, ...] = ("box", "mask", "boundary")
COLUMNS = ("mAP", "@50", "@75", "s", "m", "l", "mAR", "@50", "@75")
DECIMALS = 12
"""Of the figures. pycocotools adds 2e-16 to the denominators of precision, faster-coco-eval does not; the rest is equal."""
_COCO_NAMES = {"box": "bbox", "mask": "segm", "boundary": "segm"}
_SMALLER = [1, 10]  # detections per image; pycocotools wants three counts, and only the last is used here


@dataclass(frozen=True)
class CocoRow:
    """One row of a table (Lin et al. 2014, arXiv 1405.0312; cocodataset.org, Detection Evaluation). NaN: nothing to measure by.

    Attributes:
        ap, ap50, ap75: average precision over IoU 0.50 to 0.95, at 0.50 and at 0.75.
        ap_small, ap_medium, ap_large: of objects below 32 x 32 pixels of the image, up to 96 x 96, and beyond.
        ar, ar50, ar75: largest recall, over and at the same IoUs.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar: float
    ar50: float
    ar75: float

    def values(self) -> tuple[float, ...]:
        """Return the figures in the order of ``COLUMNS``."""
        return tuple(asdict(self).values())


def backends() -> tuple[str, ...]:
    """Name the programs that can compute boxes and masks here, the quickest first. They agree to the last digit."""
    faster = importlib.util.find_spec("faster_coco_eval") is not None
    return ("faster-coco-eval", "pycocotools") if faster else ("pycocotools",)


def coco_row(
    truth: dict[str, list[dict[str, Any]]],
    results: list[dict[str, Any]],
    kind: Kind,
    *,
    max_detections: int = 100,
    backend: str | None = None,
) -> CocoRow:
    """Compare detections with objects.

    Args:
        truth: a COCO data set with run-length masks, as ``CocoTruth.dataset``.
        results: detections, in COCO's format of results with ``bbox`` and run-length ``segmentation``.
        kind: by which IoU they are matched.
        max_detections: how many an image, the best ones; COCO has 100.
        backend: one of ``backends()``, the quickest by default. Boundaries, and boxes where there is ignored ground, are
            compared by pycocotools with an IoU of ours.

    Raises:
        ArgumentError: there is no such backend here.
    """
    if max_detections < 1:
        raise ArgumentError(f"max_detections is {max_detections}.", hint="COCO has 100, the published MapChallenge runs 1000.")
    if backend is not None and backend not in backends():
        raise ArgumentError(f"backend is {backend!r}.", hint=f"Here are {', '.join(backends())}.")
    with contextlib.redirect_stdout(io.StringIO()):  # both print their progress
        evaluation = _evaluation(truth, results, kind, backend or backends()[0])
        evaluation.params.maxDets = [*(count for count in _SMALLER if count < max_detections), max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., -1]  # (IoUs, recalls, categories, sizes)
    recall = np.asarray(evaluation.eval["recall"])[..., -1]  # (IoUs, categories, sizes)
    thresholds = np.asarray(evaluation.params.iouThrs)
    at50, at75 = (int(np.argmin(np.abs(thresholds - threshold))) for threshold in (0.5, 0.75))
    return CocoRow(
        ap=_mean(precision[..., 0]),
        ap50=_mean(precision[at50, ..., 0]),
        ap75=_mean(precision[at75, ..., 0]),
        ap_small=_mean(precision[..., 1]),
        ap_medium=_mean(precision[..., 2]),
        ap_large=_mean(precision[..., 3]),
        ar=_mean(recall[..., 0]),
        ar50=_mean(recall[at50, ..., 0]),
        ar75=_mean(recall[at75, ..., 0]),
    )


def _evaluation(truth: dict[str, Any], results: list[dict[str, Any]], kind: Kind, backend: str) -> Any:
    from pycocotools.coco import COCO

    if kind == "boundary":
        from training.evaluation.coco.boundary_masks import BoundaryEvaluation as Evaluation
    elif kind == "box" and any(annotation.get("region") == IGNORED for annotation in truth["annotations"]):
        from training.evaluation.coco.box_overlap import BoxEvaluation as Evaluation
    elif backend == "faster-coco-eval":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    else:
        from pycocotools.cocoeval import COCOeval as Evaluation
    known, found = COCO(), COCO()
    known.dataset = copy.deepcopy(truth)  # both write into the entries
    found.dataset = {
        "images": truth["images"],
        "categories": truth["categories"],
        "annotations": [_annotation(result, number, kind) for number, result in enumerate(results, start=1)],
    }
    known.createIndex()
    found.createIndex()
    return Evaluation(known, found, _COCO_NAMES[kind])


def _annotation(result: dict[str, Any], number: int, kind: Kind) -> dict[str, Any]:
    """Make an entry of one detection, whose size is that of what is compared, as pycocotools' ``loadRes`` has it."""
    from pycocotools import mask as run_lengths

    box = result["bbox"]
    area = box[2] * box[3] if kind == "box" else float(run_lengths.area(result["segmentation"]))
    return {**result, "id": number, "area": area, "iscrowd": 0}


def _mean(values: np.ndarray) -> float:
    values = values[values > -1]  # where there is nothing to find, COCO writes -1
    return round(float(values.mean()), DECIMALS) if values.size else float("nan")
