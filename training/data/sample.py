"""One training or evaluation image with its instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(eq=False)
class Sample:
    """An image and the buildings in it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        masks: (N, H, W) bool, one instance each; none is empty.
        name: where it came from, for messages and reports.
        crowd: (N,) bool, regions whose instances are not told apart or not labelled: not to be learned from, and detections
            there are neither right nor wrong.
        labels: (N,) int64, class indices; all 0 by default.
        merged: (N,) bool, those of the regions that are known to be roof.
    """

    image: np.ndarray
    masks: np.ndarray
    name: str = ""
    crowd: np.ndarray | None = None
    labels: np.ndarray | None = None
    merged: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.crowd is None:
            self.crowd = np.zeros(len(self.masks), dtype=bool)
        if self.labels is None:
            self.labels = np.zeros(len(self.masks), dtype=np.int64)
        if self.merged is None:
            self.merged = np.zeros(len(self.masks), dtype=bool)
