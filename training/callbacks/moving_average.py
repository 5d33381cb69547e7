"""The moving average of a model's weights, which is what a run validates and saves."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(WeightAveraging):
    """Average weights exponentially, over few steps in the beginning and over more and more later.

    With a constant decay of 0.999 the average of a short run would mostly be what the run began with: half of it after 700
    steps. Lightning's own average takes one tensor after the other, and waits for a GPU at each; this one takes all at once.

    During a validation, and after the training, the average is in the module that is trained, and the raw weights are aside.

    Args:
        decay: of the average, reached in the course of the run: at step ``t`` it is at most (1 + t) / (10 + t), as in
            TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0
        self._in_place = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Update after each step of the optimizer."""
        if step_idx is None:
            return False
        self._step = step_idx + 1
        return True

    def averaged_and_raw(self, pl_module: nn.Module) -> tuple[nn.Module, nn.Module]:
        """Return the module with averaged weights and that with raw ones; ``pl_module``, which is trained, is one of them."""
        aside = self._average_model.module
        return (pl_module, aside) if self._in_place else (aside, pl_module)

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the average in place, where it is not already."""
        if not self._in_place:
            self._exchange(pl_module)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the raw weights back in place, to go on training them."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._exchange(pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the average in place."""
        self._exchange(pl_module)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the average as the state of the model, and the raw weights beside it, wherever the two are."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._in_place:
            raw = checkpoint["state_dict"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = checkpoint["current_model_state"], raw

    def _exchange(self, pl_module: lightning.LightningModule) -> None:
        self._swap_models(pl_module)
        self._in_place = not self._in_place

    def _average(self, averaged: tuple[Tensor, ...] | list[Tensor], current: Any, _: Any) -> None:
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        get_ema_multi_avg_fn(decay)(averaged, current, None)
