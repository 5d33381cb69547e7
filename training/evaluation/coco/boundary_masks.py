"""Boundary IoU of masks (Cheng et al. 2021, Boundary IoU, arXiv 2103.16562)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

from training.evaluation.coco.box_overlap import compared_detections

WIDTH = 0.02  # of the image's diagonal, as for COCO
_ROUNDING = 1e-9


def boundary_of(encoded: dict[str, Any]) -> dict[str, Any]:
    """Return the pixels of a run-length mask within ``WIDTH`` of its border, diagonal steps counting as one.

    The image's border is one of the mask's where the mask reaches it, as in the published code.
    """
    height, width = encoded["size"]
    reach = max(1, round(WIDTH * float(np.hypot(height, width))))
    mask = run_lengths.decode(encoded)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        around = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        part = np.pad(mask[around], 1)
        deep = ndimage.distance_transform_cdt(part, metric="chessboard") > reach
        mask[around] &= ~deep[1:-1, 1:-1]
    return run_lengths.encode(np.asfortranarray(mask))


class BoundaryEvaluation(COCOeval):
    """COCO's evaluation with the smaller of mask IoU and boundary IoU: boundary AP, as in the paper's code.

    Crowds and other regions go by the mask alone: a detection deep inside of one lies on it, but far from its boundary.
    """

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        """Return (D, G) IoUs of one image and category, as the base class has it."""
        ious = super().computeIoU(imgId, catId)
        if len(ious) == 0:
            return ious
        found, known = compared_detections(self, imgId, catId), self._gts[imgId, catId]
        # Boundaries are slow to draw, and no boundary makes a match of masks that are none. The boundary of a crowd is that of
        # no object: what lies in one is told by its mask alone.
        crowd = np.array([bool(annotation["iscrowd"]) for annotation in known])
        close = (ious >= self.params.iouThrs[0] - _ROUNDING) & ~crowd
        rows, columns = np.flatnonzero(close.any(axis=1)), np.flatnonzero(close.any(axis=0))
        if len(rows):
            of_boundaries = run_lengths.iou(
                [boundary_of(found[row]["segmentation"]) for row in rows],
                [boundary_of(known[column]["segmentation"]) for column in columns],
                [0] * len(columns),
            )
            block = np.ix_(rows, columns)
            ious[block] = np.minimum(ious[block], of_boundaries)
        return ious
