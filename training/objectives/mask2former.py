"""What Mask2Former is trained for: class, mask and dice of its learned queries and of all layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.errors import ArgumentError
from engine.model.families.mask2former.model import Mask2Former
from training.losses import MASK2FORMER_LOSSES, Criterion, LossConfig, RandomSource, Target
from training.objectives.objective import Objective


class Mask2FormerObjective(Objective):
    """Compute the weighted losses of a model on a batch.

    Args:
        model: the one to train.
        losses: what is set in it replaces the published losses of Mask2Former.
        random: where points come from; torch's own generators by default.

    Raises:
        ArgumentError: the losses ask for what this model does not have.
    """

    def __init__(self, model: Mask2Former, losses: LossConfig, *, random: RandomSource | None = None) -> None:
        super().__init__()
        config = MASK2FORMER_LOSSES.model_copy(update={name: getattr(losses, name) for name in losses.model_fields_set})
        if config.classification != "cross_entropy" or config.class_cost != "softmax" or config.denoising.mode != "no":
            raise ArgumentError(
                f"losses.classification is {config.classification!r}, losses.class_cost {config.class_cost!r} and "
                f"losses.denoising.mode {config.denoising.mode!r}; Mask2Former can be trained with 'cross_entropy', 'softmax' "
                "and 'no' alone.",
                hint="Leave these three out.",
            )
        self.model = model
        self.criterion = Criterion(num_classes=model.config.num_classes, config=config, random=random)

    @classmethod
    def build(cls, model: Mask2Former, losses: LossConfig, *, guide: float = 0.0) -> Mask2FormerObjective:
        return cls(model, losses)

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the losses of images (B, 3, H, W) in 0..255 by name, each weighted: their sum is what is minimised."""
        losses = self.criterion(self.model(images), targets)
        return {name: self.criterion.weight(name) * loss for name, loss in losses.items()}
