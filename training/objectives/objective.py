"""What training asks of every family of models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from engine.model.config import FamilyConfig
from engine.model.families.family_model import FamilyModel
from training.losses import LossConfig, Target


class Objective(nn.Module, ABC):
    """What the models of a family are trained for.

    Attributes:
        model: the one to train.
    """

    model: FamilyModel

    @classmethod
    @abstractmethod
    def build(cls, model: FamilyModel, losses: LossConfig, *, auxiliary_loss: float = 0.0) -> Objective:
        """Build the objective of a model.

        Args:
            losses: those of Mask DINO's criterion; a family with losses of its own takes from it what it shares, or nothing.
            auxiliary_loss: weight of Mask DINO's dense loss, likewise; 0 leaves it out.
        """

    @classmethod
    def check_crops(cls, config: FamilyConfig, size: int) -> None:
        """Check that a model can be trained on crops of ``size`` pixels.

        Raises:
            ConfigError: they are too small.
        """

    @abstractmethod
    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the losses of images (B, 3, H, W) in 0..255 by name, each weighted: their sum is what is minimised."""
