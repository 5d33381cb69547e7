"""Which footprints of two layers overlap, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely

from training.evaluation.in_chunks import in_chunks

_QUERY = 16_384  # footprints looked up at once: bounds the list of candidates, of which dense towns have many


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of a detection and an annotation that share ground.

    Attributes:
        detection, annotation: (P,) row numbers.
        iou: (P,) intersection over union, over 0 (Jaccard 1912; Everingham et al. 2010, The PASCAL VOC Challenge, section 4.2).
    """

    detection: np.ndarray
    annotation: np.ndarray
    iou: np.ndarray

    def __len__(self) -> int:
        return len(self.iou)

    def only(self, kept: np.ndarray) -> Overlaps:
        """Return some of the pairs, by a mask (P,)."""
        return Overlaps(self.detection[kept], self.annotation[kept], self.iou[kept])

    def best(self, *, detections: int, annotations: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest IoU of each detection and of each annotation; 0 where it overlaps nothing."""
        of_detection, of_annotation = np.zeros(detections), np.zeros(annotations)
        np.maximum.at(of_detection, self.detection, self.iou)
        np.maximum.at(of_annotation, self.annotation, self.iou)
        return of_detection, of_annotation


def find_overlaps(
    detections: np.ndarray, annotations: np.ndarray, *, progress: Callable[[float], None] = lambda share: None
) -> Overlaps:
    """Find the pairs that share ground.

    Args:
        detections, annotations: (N,) and (M,) valid polygons or multipolygons of one plane.
        progress: called with the share done; what it raises ends the work.
    """
    tree = shapely.STRtree(annotations)
    found = [np.zeros((3, 0))]
    for start in range(0, len(detections), _QUERY):
        first, second = tree.query(detections[start : start + _QUERY])
        first = first + start
        share = (start, min(start + _QUERY, len(detections)))

        def report(part: float, share: tuple[int, int] = share) -> None:
            progress((share[0] + part * (share[1] - share[0])) / len(detections))

        shared = in_chunks(
            lambda a, b: shapely.area(shapely.intersection(a, b)), detections[first], annotations[second], progress=report
        )
        union = shapely.area(detections[first]) + shapely.area(annotations[second]) - shared
        kept = shared > 0
        found.append(np.stack([first[kept], second[kept], shared[kept] / union[kept]]))
    first, second, iou = np.concatenate(found, axis=1)
    return Overlaps(first.astype(np.int64), second.astype(np.int64), iou)
