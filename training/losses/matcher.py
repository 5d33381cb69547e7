"""Match each target to one query: the assignment of least total cost (DETR, arXiv:2005.12872, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from engine.model.outputs import Prediction
from training.errors import DivergedError

from .box_losses import cxcywh_to_xyxy, generalized_iou, l1_distance
from .classification import focal_cost
from .config import TermWeights
from .mask_losses import pairwise_dice, pairwise_mask_cross_entropy
from .point_sampling import at_least_float32, sample_masks, sample_points
from .random_source import RandomSource, TorchRandom
from .target import Target


class Match(NamedTuple):
    """Pair ``queries[k]`` with ``targets[k]`` of one image.

    (K,) int64 each, on the CPU; K is the smaller of the numbers of queries and targets; queries ascend.
    """

    queries: Tensor
    targets: Tensor


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
    def __call__(self, predictions: Sequence[Prediction], targets: Sequence[Target]) -> list[list[Match]]:
        """Match every prediction, such as each layer's, with the same targets.

        Args:
            predictions: of a batch of B images each; one without mask logits is matched by class and box alone.
            targets: B, their masks as large as the model's padded image.

        Returns:
            For each prediction a ``Match`` an image.

        Raises:
            DivergedError: a cost is not finite.
        """
        with torch.autocast(predictions[0].class_logits.device.type, enabled=False):
            costs = [self.cost(layer, image, target) for layer in predictions for image, target in enumerate(targets)]
        # One copy from the device for all of them: each copy would wait for the queue to drain.
        flat = torch.cat([cost.flatten() for cost in costs]).cpu()
        if not flat.isfinite().all():
            raise DivergedError(
                "The matching cost is not a finite number: the model's outputs are not either.",
                hint="Lower the learning rate, clip gradients, or train in bfloat16 or float32 instead of float16.",
            )
        parts = flat.split([cost.numel() for cost in costs])
        matches = [_solve(part.view(cost.shape)) for part, cost in zip(parts, costs, strict=True)]
        return [matches[start : start + len(targets)] for start in range(0, len(matches), len(targets))]

    def cost(self, prediction: Prediction, image: int, target: Target) -> Tensor:
        """Compute the (Q, T) cost of pairing each query of one image with each target."""
        logits = at_least_float32(prediction.class_logits[image])
        boxes, target_boxes = at_least_float32(prediction.boxes[image])[:, None], target.boxes[None]
        giou = generalized_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(target_boxes))
        class_cost = focal_cost(logits, target.labels, alpha=self.focal_alpha, gamma=self.focal_gamma)
        cost = (
            self.costs.classification * class_cost + self.costs.box * l1_distance(boxes, target_boxes) - self.costs.giou * giou
        )
        if prediction.mask_logits is None:
            return cost
        masks = at_least_float32(prediction.mask_logits[image])
        points = self.random.matching_points(self.points, masks.device)
        mask_logits = sample_points(masks[None], points[None])[0]
        target_masks = sample_masks(target.masks, points, mask_logits.dtype)
        return (
            cost
            + self.costs.mask * pairwise_mask_cross_entropy(mask_logits, target_masks)
            + self.costs.dice * pairwise_dice(mask_logits, target_masks)
        )


def _solve(cost: Tensor) -> Match:
    queries, targets = linear_sum_assignment(cost.numpy())
    return Match(torch.from_numpy(queries).long(), torch.from_numpy(targets).long())
