"""Keep what a run has reached when its last step is made or when it is interrupted, before anything else can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.trainer.states import TrainerFn

from engine.errors import CancelledError
from engine.job import Job
from training.callbacks.run_length import RunLength


class LastWeights(lightning.Callback):
    """Write a checkpoint and model files after the last step, and where a job that was cancelled ends the run.

    The last validation can take long, and whoever set a time limit may not wait for it.

    Args:
        save: writes the model files of the module that is trained.
        checkpoint: where the state is kept.
        job: that may be cancelled.
        length: of the run.
    """

    def __init__(self, save: Callable[[Any], object], *, checkpoint: Path, job: Job, length: RunLength) -> None:
        self.save, self.checkpoint, self.job, self.length = save, checkpoint, job, length

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and self.length.share(trainer.global_step) >= 1:
            trainer.save_checkpoint(self.checkpoint)
            self._save(trainer, pl_module)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        # Workers may have died of the signal that cancelled the job, which is no CancelledError.
        if not self.job.cancelled.is_set() or not trainer.global_step:
            return
        # Several processes have to write a checkpoint together. They end together after a step, and nowhere else.
        together = trainer.world_size == 1 or (trainer.training and isinstance(exception, CancelledError))
        if trainer.state.fn == TrainerFn.FITTING and together:
            trainer.save_checkpoint(self.checkpoint)
        self._save(trainer, pl_module)

    def _save(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.save(pl_module)
