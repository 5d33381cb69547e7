"""Match each target to one query: the assignment of least total cost (DETR, arXiv:2005.12872, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from engine.model.outputs import Prediction
from training.errors import DivergedError

from .box_losses import cxcywh_to_xyxy, generalized_iou, l1_distance
from .classification import focal_cost
from .config import TermWeights
from .device_copies import to_host
from .mask_losses import pairwise_dice, pairwise_mask_cross_entropy
from .point_sampling import at_least_float32, largest_block, sample_points
from .random_source import RandomSource, TorchRandom
from .target_batch import TargetBatch


class Match(NamedTuple):
    """Pair ``queries[k]`` with ``targets[k]`` of one image.

    (K,) int64 each; K is the smaller of the numbers of queries and targets; queries ascend.
    """

    queries: np.ndarray
    targets: np.ndarray


class HungarianMatcher:
    """Weigh class, mask, dice, box and GIoU costs and solve the assignment with SciPy.

    Masks are compared at ``points`` random places, drawn anew for each image and prediction, the same for its pairs.
    """

    def __init__(
        self,
        *,
        costs: TermWeights | None = None,
        points: int = 12544,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        random: RandomSource | None = None,
    ) -> None:
        self.costs = costs or TermWeights()
        self.points = points
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.random = random or TorchRandom()

    @torch.no_grad()
    def __call__(self, predictions: Sequence[Prediction], targets: TargetBatch) -> list[list[Match]]:
        """Match every prediction, such as each layer's, with the same targets.

        Args:
            predictions: of a batch of B images each; one without mask logits is matched by class and box alone.
            targets: of B images, their masks as large as the model's padded image.

        Returns:
            For each prediction a ``Match`` per image.

        Raises:
            DivergedError: a cost is not finite.
        """
        with torch.autocast(predictions[0].class_logits.device.type, enabled=False):
            # SciPy turns a matrix of more rows than columns round, so these come with the queries in columns.
            costs = [self.cost(prediction, targets).mT for prediction in predictions]
        # One copy from the device for all of them: each copy waits for the queue to drain.
        flat = to_host(torch.cat([cost.flatten() for cost in costs]))
        if not np.isfinite(flat).all():
            raise DivergedError(
                "The matching cost is not a finite number: the model's outputs are not either.",
                hint="Lower the learning rate, clip gradients, or train in bfloat16 or float32 instead of float16.",
            )
        parts = np.split(flat, np.cumsum([cost.numel() for cost in costs])[:-1])
        return [
            [_solve(of_image[:count]) for of_image, count in zip(part.reshape(cost.shape), targets.counts, strict=True)]
            for part, cost in zip(parts, costs, strict=True)
        ]

    def cost(self, prediction: Prediction, targets: TargetBatch) -> Tensor:
        """Compute the (B, Q, S) cost of pairing each query of an image with each of ``targets.slots``."""
        logits, boxes = at_least_float32(prediction.class_logits), at_least_float32(prediction.boxes)[:, :, None]
        labels, target_boxes = targets.labels[targets.slots], targets.boxes[targets.slots][:, None]
        giou = generalized_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(target_boxes))
        class_cost = focal_cost(logits, labels, alpha=self.focal_alpha, gamma=self.focal_gamma)
        cost = (
            self.costs.classification * class_cost + self.costs.box * l1_distance(boxes, target_boxes) - self.costs.giou * giou
        )
        if prediction.mask_logits is None:
            return cost
        return cost + self._mask_cost(prediction.mask_logits, targets)

    def _mask_cost(self, mask_logits: Tensor, targets: TargetBatch) -> Tensor:
        """Compute the mask and dice part of the cost, as many images at a time as memory should hold."""
        slots, device = targets.slots, mask_logits.device
        points = self.random.matching_points(len(mask_logits), self.points, device)
        few = max(1, largest_block(device) // (self.points * (mask_logits.shape[1] + slots.shape[1])))
        parts = []
        for of_logits, of_slots, of_points in zip(mask_logits.split(few), slots.split(few), points.split(few), strict=True):
            sampled = sample_points(at_least_float32(of_logits), of_points)  # (images, Q, P)
            wanted = targets.sampler(of_slots, of_points[:, None], sampled.dtype)  # (images, S, P)
            parts.append(
                self.costs.mask * pairwise_mask_cross_entropy(sampled, wanted)
                + self.costs.dice * pairwise_dice(sampled, wanted)
            )
        return torch.cat(parts)


def _solve(cost: np.ndarray) -> Match:
    """Solve the assignment of targets (rows) to queries (columns)."""
    targets, queries = linear_sum_assignment(cost)
    order = queries.argsort()
    return Match(queries[order], targets[order])
