"""What each kind of model is trained for."""

from __future__ import annotations

from torch import nn

from engine.model.families.maskdino.model import MaskDino
from training.losses import LossConfig

from .mask_dino import MaskDinoObjective
from .mask_rcnn import MaskRcnnObjective


def build_objective(model: nn.Module, losses: LossConfig, *, guide: float = 0.0) -> nn.Module:
    """Build what a model is trained for: a module with the attribute ``model``.

    Called with images (B, 3, H, W) in 0..255 and a ``Target`` for each, it returns weighted losses by name, the sum of which is
    to be minimised.

    Args:
        losses: of Mask DINO; Mask R-CNN has its own, which torchvision fixes.
        guide: weight of Mask DINO's dense loss; 0 leaves it out.
    """
    if isinstance(model, MaskDino):
        return MaskDinoObjective(model, losses, guide=guide)
    return MaskRcnnObjective(model)
