"""Match each target to one query: the assignment of least total cost (DETR, arXiv:2005.12872, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from engine.model.host_transfer import to_host
from engine.model.outputs import Prediction
from training.errors import DivergedError

from .box_losses import cxcywh_to_xyxy, generalized_iou, l1_distance
from .classification import focal_cost, softmax_cost
from .config import TermWeights
from .mask_losses import pairwise_dice, pairwise_mask_cross_entropy
from .point_sampling import at_least_float32, largest_block, sample_points
from .random_source import RandomSource, TorchRandom
from .target_batch import TargetBatch

_LEAST_PER_THREAD = 16  # matrices: fewer are solved sooner than they are handed over


class Match(NamedTuple):
    """Pair ``queries[k]`` with ``targets[k]`` of one image.

    (K,) int64 each; K is the smaller of the numbers of queries and targets; queries ascend.
    """

    queries: np.ndarray
    targets: np.ndarray


class HungarianMatcher:
    """Weigh class, mask, dice, box and GIoU costs, those that the predictions allow, and solve the assignment with SciPy.

    Masks are compared at ``points`` random places, drawn anew for each image and prediction, the same for its pairs.
    """

    def __init__(
        self,
        *,
        costs: TermWeights | None = None,
        points: int = 12544,
        class_cost: Literal["focal", "softmax"] = "focal",
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        random: RandomSource | None = None,
    ) -> None:
        self.costs = costs or TermWeights()
        self.points = points
        self.class_cost = class_cost
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.random = random or TorchRandom()

    @torch.no_grad()
    def __call__(self, predictions: Sequence[Prediction], targets: TargetBatch) -> list[list[Match]]:
        """Match every prediction, such as each layer's, with the same targets.

        Args:
            predictions: of a batch of B images each; one without mask logits is matched by class and box alone, those without
                boxes, which are all or none of them, by class and mask.
            targets: of B images, their masks as large as the model's padded image.

        Returns:
            For each prediction a ``Match`` per image.

        Raises:
            DivergedError: a cost is not finite.
        """
        with torch.autocast(predictions[0].class_logits.device.type, enabled=False):
            # SciPy turns a matrix of more rows than columns round, so these come with the queries in columns.
            costs = self.cost(predictions, targets).mT.contiguous()
        # One copy from the device for all of them: each copy waits for the queue to drain.
        costs = to_host(costs)
        if not np.isfinite(costs).all():
            raise DivergedError(
                "The matching cost is not a finite number: the model's outputs are not either.",
                hint="Lower the learning rate, clip gradients, or train in bfloat16 or float32 instead of float16.",
            )
        ends = np.cumsum([prediction.class_logits.shape[1] for prediction in predictions])
        by_prediction = np.split(costs, ends[:-1], axis=2)
        matches = _solve([cost[:count] for layer in by_prediction for cost, count in zip(layer, targets.counts, strict=True)])
        images = len(targets.counts)
        return [matches[start : start + images] for start in range(0, len(matches), images)]

    def cost(self, predictions: Sequence[Prediction], targets: TargetBatch) -> Tensor:
        """Compute what it costs to pair each query of an image with each of ``targets.slots``.

        Returns:
            (B, Q, S), the queries of one prediction after those of the other.
        """
        logits = at_least_float32(torch.cat([prediction.class_logits for prediction in predictions], dim=1))
        cost = self.costs.classification * self._class_cost(logits, targets.labels[targets.slots])
        if predictions[0].boxes is not None:
            cost = cost + self._box_cost(torch.cat([prediction.boxes for prediction in predictions], dim=1), targets)
        of_predictions = cost.split([prediction.class_logits.shape[1] for prediction in predictions], dim=1)
        with_masks = [
            part if prediction.mask_logits is None else part + self._mask_cost(prediction.mask_logits, targets)
            for part, prediction in zip(of_predictions, predictions, strict=True)
        ]
        return torch.cat(with_masks, dim=1)

    def _class_cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the class part of the cost, unweighted: (B, Q, C), (B, S) -> (B, Q, S)."""
        if self.class_cost == "softmax":
            return softmax_cost(logits, labels)
        return focal_cost(logits, labels, alpha=self.focal_alpha, gamma=self.focal_gamma)

    def _box_cost(self, boxes: Tensor, targets: TargetBatch) -> Tensor:
        """Compute the box part of the cost, both terms weighted: (B, Q, 4) -> (B, Q, S)."""
        boxes, target_boxes = at_least_float32(boxes)[:, :, None], targets.boxes[targets.slots][:, None]
        giou = generalized_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(target_boxes))
        return self.costs.box * l1_distance(boxes, target_boxes) - self.costs.giou * giou

    def _mask_cost(self, mask_logits: Tensor, targets: TargetBatch) -> Tensor:
        """Compute the mask and dice part of a prediction's cost (B, Q, S), as many images at a time as memory should hold."""
        slots, device = targets.slots, mask_logits.device
        points = self.random.matching_points(len(mask_logits), self.points, device)
        few = max(1, largest_block(device) // (self.points * (mask_logits.shape[1] + slots.shape[1])))
        parts = []
        for some_logits, some_slots, some_points in zip(*(of.split(few) for of in (mask_logits, slots, points)), strict=True):
            sampled = sample_points(at_least_float32(some_logits), some_points)  # (images, Q, P)
            wanted = targets.sampler(some_slots, some_points[:, None], sampled.dtype)  # (images, S, P)
            parts.append(
                self.costs.mask * pairwise_mask_cross_entropy(sampled, wanted)
                + self.costs.dice * pairwise_dice(sampled, wanted)
            )
        return torch.cat(parts)


def _solve(costs: Sequence[np.ndarray]) -> list[Match]:
    """Solve the assignment of targets (rows) to queries (columns) of each cost matrix."""
    threads = min(torch.get_num_threads(), len(costs) // _LEAST_PER_THREAD)
    if threads < 2:
        return _solve_in_turn(costs)
    # SciPy does not hold the interpreter's lock while it solves, and a GPU waits for the result.
    parts = _threads(threads).map(_solve_in_turn, [costs[part::threads] for part in range(threads)])
    matches: list[Match | None] = [None] * len(costs)
    for part, solved in enumerate(parts):
        matches[part::threads] = solved
    return matches


def _solve_in_turn(costs: Sequence[np.ndarray]) -> list[Match]:
    matches = []
    for cost in costs:
        targets, queries = linear_sum_assignment(cost)
        order = queries.argsort()
        matches.append(Match(queries[order], targets[order]))
    return matches


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="matcher")
