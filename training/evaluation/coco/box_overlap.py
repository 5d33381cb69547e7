"""Overlaps of boxes with ground that is not labelled, whose own box says little of where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from pycocotools.cocoeval import COCOeval

from training.evaluation.coco.truth import IGNORED


def compared_detections(evaluation: COCOeval, image: Any, category: Any) -> list[dict[str, Any]]:
    """Return the D detections that are rows of pycocotools' IoUs of an image and category, in that order."""
    found = evaluation._dts[image, category]
    order = np.argsort([-detection["score"] for detection in found], kind="mergesort")
    return [found[number] for number in order[: evaluation.params.maxDets[-1]]]


class BoxEvaluation(COCOeval):
    """COCO's evaluation of boxes, in which ignored ground is its pixels.

    The box around ignored ground that lies along the image's border is the whole image: by it no wrong box would count.
    """

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        """Return (D, G) IoUs of one image and category, as the base class has it; on ignored ground, shares of the box."""
        ious = super().computeIoU(imgId, catId)
        known = self._gts[imgId, catId]
        ground = [column for column, annotation in enumerate(known) if annotation.get("region") == IGNORED]
        if len(ious) and ground:
            regions = [known[column]["segmentation"] for column in ground]
            boxes = np.array([detection["bbox"] for detection in compared_detections(self, imgId, catId)], dtype=float)
            ious[:, ground] = run_lengths.iou(run_lengths.frPyObjects(boxes, *regions[0]["size"]), regions, [1] * len(ground))
        return ious
