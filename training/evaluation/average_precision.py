"""Precision, recall and average precision of detections that have been matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.evaluation.matching import by_score

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's (cocodataset.org, Detection Evaluation)."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO reads precision."""


@dataclass(frozen=True, eq=False)
class Curve:
    """How precision falls as recall grows while worse and worse scores are let in.

    Attributes:
        recall, precision: (N,) of the best 1, 2, ... N detections.
        score: (N,) of the last of them.
        average_precision: mean precision at 101 recalls, each the best at that recall or beyond; NaN without annotations.
    """

    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray
    average_precision: float

    def best_f1(self) -> tuple[float, float]:
        """Return the largest F1 along the curve and the score from which on detections have to be kept to reach it."""
        total = self.recall + self.precision
        # Detections of one score come in all together.
        whole = np.append(np.diff(self.score) != 0, True) & (total > 0)
        if not whole.any():
            return 0.0, float("nan")
        f1 = np.where(whole, 2 * self.recall * self.precision / np.where(total > 0, total, 1.0), 0.0)
        best = int(np.argmax(f1))
        return float(f1[best]), float(self.score[best])


def precision_recall(right: np.ndarray, scores: np.ndarray, *, annotations: int) -> Curve:
    """Walk from the best score to the worst; ``COCOeval.accumulate`` of pycocotools.

    Args:
        right: (N,) bool, whether the detection has a match.
        scores: (N,).
        annotations: how many there are to be found.
    """
    order = by_score(scores)
    found = np.cumsum(right[order])
    precision = found / np.arange(1, len(order) + 1)
    recall = found / annotations if annotations else np.full(len(order), np.nan)
    return Curve(recall, precision, scores[order], _average(recall, precision) if annotations else float("nan"))


def _average(recall: np.ndarray, precision: np.ndarray) -> float:
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(best_from_here, 0.0)[place].mean())


def f1_score(precision: float, recall: float) -> float:
    """Return the harmonic mean of precision and recall (van Rijsbergen 1979, Information Retrieval, chapter 7)."""
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else (0.0 if total == 0 else float("nan"))
