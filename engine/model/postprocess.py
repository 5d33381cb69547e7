"""From the outputs of a model to the instances of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model.mask_drawing import STRIDE, EnlargedMasks
from engine.model.outputs import Prediction


@dataclass
class ImageInstances:
    """The instances of one image, best first.

    Attributes:
        scores: (N,) class probability times the mean probability inside the mask; 0 for an empty mask.
        labels: (N,) int64.
        boxes: (N, 4) x0, y0, x1, y1 in pixels of the output size, as predicted: neither clipped nor taken from the masks.
        masks: (N, H, W) bool.
        certainties: (N,) the mean probability inside the mask; None where scores are class probabilities alone.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    masks: Tensor
    certainties: Tensor | None = None


def image_instances(
    prediction: Prediction,
    index: int,
    *,
    image_size: tuple[int, int],
    padded_size: tuple[int, int],
    output_size: tuple[int, int] | None = None,
    count: int,
    threshold: float = 0.0,
) -> ImageInstances:
    """Read the best instances of one image of a batch (Mask2Former, arXiv 2112.01527, appendix; boxes as Mask DINO).

    Args:
        prediction: of the whole batch.
        index: which image.
        image_size: height and width of that image before it was padded.
        padded_size: height and width of the batch.
        output_size: height and width wanted; those of the image by default.
        count: how many (query, class) pairs are kept, by class probability.
        threshold: pairs whose class probability is below it are left out before their masks are enlarged.
    """
    chosen = best_pairs(prediction.class_logits[index], count=count, threshold=threshold)
    return draw_instances(
        chosen,
        boxes=prediction.boxes[index, chosen.queries],
        mask_logits=prediction.mask_logits[index, chosen.queries],
        image_size=image_size,
        padded_size=padded_size,
        output_size=output_size or image_size,
    )


class ChosenPairs(NamedTuple):
    """The (query, class) pairs of an image that are kept, each (N,), by class probability."""

    probabilities: Tensor
    queries: Tensor
    labels: Tensor


def best_pairs(class_logits: Tensor, *, count: int, threshold: float) -> ChosenPairs:
    """Choose the ``count`` best pairs of an image's class logits (Q, classes), without those below ``threshold``."""
    classes = class_logits.shape[-1]
    best = class_logits.sigmoid().flatten().topk(min(count, class_logits.numel()))
    sure = best.values >= threshold
    pairs = best.indices[sure]
    return ChosenPairs(best.values[sure], pairs // classes, pairs % classes)


def draw_instances(
    chosen: ChosenPairs,
    *,
    boxes: Tensor,
    mask_logits: Tensor,
    image_size: tuple[int, int],
    padded_size: tuple[int, int],
    output_size: tuple[int, int],
) -> ImageInstances:
    """Bring the chosen pairs' boxes (N, 4) and mask logits (N, h, w) to the size wanted, and score them."""
    if output_size == image_size and padded_size == tuple(STRIDE * side for side in mask_logits.shape[1:]):
        enlarged = EnlargedMasks(mask_logits, image_size)
        certainty, masks_in = enlarged.certainty, enlarged.masks
    else:
        masks, certainty = _resampled(mask_logits, padded_size, image_size, output_size)
        masks_in = masks.__getitem__

    # boxes are relative to the padded image
    height, width = output_size
    across, down = width * padded_size[1] / image_size[1], height * padded_size[0] / image_size[0]
    x, y, breadth, depth = boxes.unbind(-1)
    corners = torch.stack(
        [(x - breadth / 2) * across, (y - depth / 2) * down, (x + breadth / 2) * across, (y + depth / 2) * down], dim=-1
    )

    scores = chosen.probabilities * certainty
    order = scores.argsort(descending=True, stable=True)
    return ImageInstances(scores[order], chosen.labels[order], corners[order], masks_in(order), certainty[order])


def _resampled(
    logits: Tensor, padded_size: tuple[int, int], image_size: tuple[int, int], output_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Enlarge to the padded image, cut the image out of it, bring that to the size wanted: the published order.

    Returns:
        Masks (N, H, W) bool and the mean probability inside each (N,), 0 where it is empty.
    """
    logits = logits[:, None].float()  # (N, 1, ...): N may be 0, channels may not
    logits = F.interpolate(logits, size=padded_size, mode="bilinear", align_corners=False)
    logits = logits[..., : image_size[0], : image_size[1]]
    logits = F.interpolate(logits, size=output_size, mode="bilinear", align_corners=False)[:, 0]
    masks = logits > 0
    return masks, (logits.sigmoid() * masks).flatten(1).sum(1) / (masks.flatten(1).sum(1) + 1e-6)
