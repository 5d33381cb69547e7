"""The same instances, found twice: with another batch, precision or copy of the model, which rounds otherwise.

Rounding swaps instances whose scores tie, and decides which of them gets the last place. So instances are never compared by
their order.
"""

from __future__ import annotations

import numpy as np
import torch

from engine.detection.instances import Instances
from engine.model.postprocess import ImageInstances


def assert_same_instances(found: ImageInstances, expected: ImageInstances, *, tolerance: float) -> None:
    """Fail unless each instance that is expected was found, but for rounding.

    Args:
        found, expected: of the same number, best first.
        tolerance: the largest difference of scores and of boxes in shares of the image's longer side, and the largest share
            of pixels in which two masks differ. An expected instance may be
            missing where its score is that near to the last one's.
    """
    assert len(found.scores) == len(expected.scores) > 0
    torch.testing.assert_close(found.scores, expected.scores, atol=tolerance, rtol=0)
    same = found.labels == expected.labels[:, None]  # (expected, found)
    same &= (found.scores - expected.scores[:, None]).abs() <= tolerance
    side = max(expected.masks.shape[-2:])
    same &= ((found.boxes - expected.boxes[:, None]).abs() <= tolerance * side).all(-1)
    for row, mask in enumerate(expected.masks):
        same[row] &= (found.masks != mask).flatten(1).float().mean(1) <= tolerance
    missing = ~same.any(1) & (expected.scores > expected.scores[-1] + tolerance)
    assert not missing.any(), f"not found: {missing.nonzero().flatten().tolist()}, scores {expected.scores[missing].tolist()}"


def assert_sure_ones_are_found(found: Instances | ImageInstances, expected: Instances | ImageInstances) -> None:
    """Fail unless for each mask with a score above 0.5 among the expected ones there is one of nearly the same pixels.

    Look for instances down to 0.3, so that no rounding can carry one out of sight.
    """
    sure = _pixels(expected)[np.asarray(expected.scores) > 0.5]
    masks = _pixels(found)
    both = sure @ masks.T
    union = sure.sum(1)[:, None] + masks.sum(1) - both
    assert len(sure) > 0 and ((both > 0.9 * union).any(1)).all()


def picture_with_houses(*, top: int = 20, left: int = 20) -> torch.Tensor:
    """Paint nine bright roofs with their shade on dull ground, the first at ``top`` and ``left``: (3, 256, 256), 0..255."""
    picture = torch.full((3, 256, 256), 90.0)
    for x in range(left, left + 200, 70):
        for y in range(top, top + 200, 70):
            picture[:, y : y + 40, x : x + 28] = torch.tensor([200.0, 190.0, 180.0])[:, None, None]
            picture[:, y + 40 : y + 46, x : x + 28] = 20.0
    return picture


def _pixels(instances: Instances | ImageInstances) -> np.ndarray:
    masks = np.asarray(instances.masks)
    return masks.reshape(len(masks), masks.shape[-2] * masks.shape[-1]).astype(np.float32)
