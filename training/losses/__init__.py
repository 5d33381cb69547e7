"""The losses that train Mask DINO and Mask2Former: matcher, criterion, denoising queries."""

from __future__ import annotations

from .config import MASK2FORMER_LOSSES, DenoisingConfig, LossConfig, TermWeights
from .criterion import Criterion
from .denoising import make_denoising_queries
from .dense_auxiliary_loss import DenseAuxiliaryLoss
from .matcher import HungarianMatcher, Match
from .random_source import RandomSource, TorchRandom
from .target import Target

__all__ = [
    "MASK2FORMER_LOSSES",
    "Criterion",
    "DenoisingConfig",
    "DenseAuxiliaryLoss",
    "HungarianMatcher",
    "LossConfig",
    "Match",
    "RandomSource",
    "Target",
    "TermWeights",
    "TorchRandom",
    "make_denoising_queries",
]
