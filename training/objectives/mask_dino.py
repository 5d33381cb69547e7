"""What Mask DINO is trained for: its criterion over all layers, denoising queries, and the dense auxiliary loss if wanted."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.errors import ArgumentError, ConfigError
from engine.model.families.maskdino.config import MaskDinoConfig
from engine.model.families.maskdino.model import MaskDino
from training.losses import Criterion, DenseAuxiliaryLoss, LossConfig, RandomSource, Target, make_denoising_queries
from training.objectives.objective import Objective


class MaskDinoObjective(Objective):
    """Compute the weighted losses of a model on a batch.

    Args:
        model: the one to train.
        losses: its criterion. A model that classifies by a softmax is trained by cross-entropy with no object, whose weights
            and costs are otherwise those of focal loss, as published.
        auxiliary_loss: weight of the dense loss; 0 leaves it out.
        random: where points and noise come from; torch's own generators by default.

    Raises:
        ArgumentError: the losses ask for cross-entropy, and the model has no logit for no object.
    """

    def __init__(
        self, model: MaskDino, losses: LossConfig, *, auxiliary_loss: float = 0.0, random: RandomSource | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.denoising = losses.denoising
        self.random = random
        self.criterion = Criterion(num_classes=model.config.num_classes, config=_fitting(losses, model), random=random)
        self.auxiliary_loss = (
            DenseAuxiliaryLoss(model.config.pixel_decoder.mask_dim, weight=auxiliary_loss) if auxiliary_loss else None
        )

    @classmethod
    def build(cls, model: MaskDino, losses: LossConfig, *, auxiliary_loss: float = 0.0) -> MaskDinoObjective:
        return cls(model, losses, auxiliary_loss=auxiliary_loss)

    @classmethod
    def check_crops(cls, config: MaskDinoConfig, size: int) -> None:
        """Refuse crops that have fewer places on the encoder's maps than the model selects."""
        decoder = config.pixel_decoder
        finest = 2 ** min(int(name.removeprefix("res")) for name in decoder.features)
        places = sum((-(-size // (finest << level))) ** 2 for level in range(decoder.levels))
        selected = cls.selected_places(config)
        if places < selected:
            raise ConfigError(
                f"data.size is {size}: such crops have {places} places to look at, fewer than the model's {selected} queries.",
                hint="Train on larger crops.",
            )

    @classmethod
    def selected_places(cls, config: MaskDinoConfig) -> int:
        """Return how many places on the encoder's maps a model of this config makes queries of."""
        return config.decoder.queries if config.decoder.two_stage else 0

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the losses of images (B, 3, H, W) in 0..255 by name, each weighted: their sum is what is minimised."""
        denoising = None
        if self.denoising.mode != "no":
            denoising = make_denoising_queries(
                targets,
                num_queries=self.model.config.decoder.queries,
                num_classes=self.model.config.num_classes,
                number=self.denoising.number,
                noise_scale=self.denoising.noise_scale,
                random=self.random,
            )
        kept: list[Tensor] = []
        hook = None
        if self.auxiliary_loss is not None:
            hook = self.model.pixel_decoder.register_forward_hook(lambda module, inputs, output: kept.append(output[0]))
        try:
            outputs = self.model(images, denoising=denoising)
        finally:
            if hook is not None:
                hook.remove()
        losses = self.criterion(outputs, targets, denoising)
        weighted = {name: self.criterion.weight(name) * loss for name, loss in losses.items()}
        if self.auxiliary_loss is not None:
            weighted["loss_auxiliary"] = self.auxiliary_loss(kept[0], targets)
        return weighted


def _fitting(losses: LossConfig, model: MaskDino) -> LossConfig:
    """Make the classification loss that of the model's class logits."""
    if model.classification == "softmax":
        return losses.model_copy(update={"classification": "cross_entropy"})
    if losses.classification == "cross_entropy":
        raise ArgumentError(
            "losses.classification is 'cross_entropy', and the model's class logits are for sigmoids: none is for no object.",
            hint="Leave losses.classification out, or set the model's classification to 'softmax'.",
        )
    return losses
