"""How far masks lie apart at sampled points: binary cross-entropy and dice.

Pair by pair for the loss, every prediction with every target for the matching cost.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def mask_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Average the binary cross-entropy over the points of each pair: (N, P), (N, P) -> (N,)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute one minus the smoothed dice coefficient of each pair: (N, P), (N, P) -> (N,) (arXiv:1606.04797)."""
    inside = logits.sigmoid()
    return 1 - (2 * (inside * targets).sum(-1) + 1) / (inside.sum(-1) + targets.sum(-1) + 1)


def pairwise_mask_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute ``mask_cross_entropy`` of every prediction with every target: (..., Q, P), (..., T, P) -> (..., Q, T).

    softplus(x) - x t is the cross-entropy, and its first part does not depend on the target.
    """
    return (F.softplus(logits).sum(-1, keepdim=True) - logits @ targets.mT) / logits.shape[-1]


def pairwise_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute ``dice`` of every prediction with every target: (..., Q, P), (..., T, P) -> (..., Q, T)."""
    inside = logits.sigmoid()
    return 1 - (2 * (inside @ targets.mT) + 1) / (inside.sum(-1, keepdim=True) + targets.sum(-1)[..., None, :] + 1)
