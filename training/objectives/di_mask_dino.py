"""What DI-MaskDINO is trained for: what Mask DINO is, and the classes and boxes that its token interaction predicts."""

from __future__ import annotations

from engine.model.families.dimaskdino.config import DiMaskDinoConfig
from training.objectives.mask_dino import MaskDinoObjective


class DiMaskDinoObjective(MaskDinoObjective):
    """Compute the weighted losses of a model on a batch; the criterion supervises all that its outputs hold."""

    @classmethod
    def selected_places(cls, config: DiMaskDinoConfig) -> int:
        return config.decoder.first_queries
