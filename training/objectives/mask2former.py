"""What Mask2Former is trained for: class, mask and dice of its learned queries and of all layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from engine.errors import ArgumentError
from engine.model.families.mask2former.model import Mask2Former
from training.losses import MASK2FORMER_LOSSES, Criterion, LossConfig, RandomSource, Target
from training.objectives.objective import Objective


class Mask2FormerObjective(Objective):
    """Compute the weighted losses of a model on a batch.

    Args:
        model: the one to train.
        losses: where they differ from the defaults, which are Mask DINO's, they replace the published ones of Mask2Former.
        random: where points come from; torch's own generators by default.

    Raises:
        ArgumentError: the losses ask for what this model does not have.
    """

    def __init__(self, model: Mask2Former, losses: LossConfig, *, random: RandomSource | None = None) -> None:
        super().__init__()
        config = LossConfig.model_validate(
            _replaced(MASK2FORMER_LOSSES.model_dump(), losses.model_dump(), LossConfig().model_dump())
        )
        if config.denoising.mode != "no":
            raise ArgumentError(
                f"losses.denoising.mode is {config.denoising.mode!r}; Mask2Former has no denoising queries.",
                hint="Leave losses.denoising out.",
            )
        self.model = model
        self.criterion = Criterion(num_classes=model.config.num_classes, config=config, random=random)

    @classmethod
    def build(cls, model: Mask2Former, losses: LossConfig, *, auxiliary_loss: float = 0.0) -> Mask2FormerObjective:
        return cls(model, losses)

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the losses of images (B, 3, H, W) in 0..255 by name, each weighted: their sum is what is minimised."""
        losses = self.criterion(self.model(images), targets)
        return {name: self.criterion.weight(name) * loss for name, loss in losses.items()}


def _replaced(ours: dict[str, Any], given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Replace each of our settings that is given and not the default: configs that are saved name their defaults, too."""
    return {
        name: _replaced(value, given[name], defaults[name])
        if isinstance(value, dict)
        else (value if given[name] == defaults[name] else given[name])
        for name, value in ours.items()
    }
