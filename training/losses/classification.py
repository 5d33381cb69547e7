"""How wrong the class logits are: focal loss (arXiv:1708.02002), or cross-entropy with a "no object" class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

_EPSILON = 1e-8  # inside the cost's logarithms, as in official Mask DINO


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Compute the focal loss of each logit against its 0 or 1 target, unreduced, in the logits' shape."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missing = probability * (1 - targets) + (1 - probability) * targets
    return (alpha * targets + (1 - alpha) * (1 - targets)) * missing**gamma * cross_entropy


def softmax_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Return minus the probability of each target's class: (B, Q, C + 1), (B, T) -> (B, Q, T)."""
    return -logits.softmax(-1).gather(-1, labels[:, None].expand(-1, logits.shape[1], -1))


def focal_cost(logits: Tensor, labels: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Return what it costs, in focal loss, to call each query each target's class: (B, Q, C), (B, T) -> (B, Q, T)."""
    probability = logits.sigmoid()
    if_right = alpha * (1 - probability) ** gamma * -(probability + _EPSILON).log()
    if_wrong = (1 - alpha) * probability**gamma * -(1 - probability + _EPSILON).log()
    return (if_right - if_wrong).gather(-1, labels[:, None].expand(-1, logits.shape[1], -1))
