"""Report how far a training is to whoever waits, and end it when they want that."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning

from engine.errors import CancelledError
from engine.job import Job, Progress
from training.callbacks.run_length import RunLength

_REPORT_EVERY = 0.5  # seconds
_WINDOW = 50  # steps that the time left is told from


class JobProgress(lightning.Callback):
    """Report steps to a job, and end a run that was cancelled: after a step, or within a validation.

    Args:
        job: its ``report`` takes ``Progress`` with the loss and the last validation as its note.
        checkpoint: where the state is kept then.
        length: of the run.
    """

    def __init__(self, job: Job, *, checkpoint: Path, length: RunLength) -> None:
        self.job, self.checkpoint, self.length = job, checkpoint, length
        self._steps: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._reported = 0.0
        self._paused = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._steps.append((trainer.global_step, time.monotonic()))

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step, now = trainer.global_step, time.monotonic()
        self._steps.append((step, now))
        ended = self.length.share(step) >= 1
        if now - self._reported > _REPORT_EVERY or ended:
            self._reported = now
            steps = step if ended else self.length.expected_steps(step)
            first, began = self._steps[0]
            per_step = (now - began) / max(step - first, 1)
            left = per_step * (steps - step) if step > first else None
            note = _note(trainer, pl_module)
            self.job.report(Progress(step, steps, "steps", buildings=None, seconds_left=left, note=note))
        # Processes hear of a Ctrl-C at different moments, and have to end at the same step.
        if trainer.strategy.reduce_boolean_decision(self.job.cancelled.is_set(), all=False):
            raise self.cancelled_at(step)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._paused = time.monotonic()

    def on_validation_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        if self.job.cancelled.is_set():
            raise self.cancelled_at(trainer.global_step)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        # A validation is no step: the steps before it are moved up to where it ended.
        pause = time.monotonic() - self._paused
        self._steps = deque(((step, when + pause) for step, when in self._steps), maxlen=_WINDOW)

    def cancelled_at(self, step: int) -> CancelledError:
        """Return the error that ends a cancelled run."""
        return CancelledError(f"Cancelled at step {step}; --resume goes on from {self.checkpoint}.")


def _note(trainer: lightning.Trainer, pl_module: Any) -> str:
    loss = trainer.callback_metrics.get("train/total")
    parts = [] if loss is None else [f"loss {float(loss):.3g}"]
    if pl_module.scores is not None:
        parts.append(f"AP50 {pl_module.scores.ap50:.3f}")
    return ", ".join(parts)
