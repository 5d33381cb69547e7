"""What each family of models is trained for."""

from __future__ import annotations

from engine.model.config import FamilyConfig

from .di_mask_dino import DiMaskDinoObjective
from .mask2former import Mask2FormerObjective
from .mask_dino import MaskDinoObjective
from .mask_rcnn import MaskRcnnObjective
from .objective import Objective

_OBJECTIVES: dict[str, type[Objective]] = {
    "mask_dino": MaskDinoObjective,
    "di_mask_dino": DiMaskDinoObjective,
    "mask2former": Mask2FormerObjective,
    "mask_rcnn": MaskRcnnObjective,
}


def objective_of(config: FamilyConfig) -> type[Objective]:
    """Return what models of a config's family are trained for."""
    return _OBJECTIVES[config.kind]
