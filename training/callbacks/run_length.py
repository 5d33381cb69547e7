"""How far a run has come: by its steps, or by the clock."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as lightning


class RunLength(lightning.Callback):
    """Count the seconds of a run over all its parts, and end it where it is measured in minutes.

    It has to stand before whoever reads it.

    Args:
        steps: of the whole run; None where the clock decides.
        minutes: of the whole run, validation included; None where steps decide.

    Attributes:
        seconds: so far, over all parts of a run that was stopped and resumed.
    """

    def __init__(self, *, steps: int | None, minutes: float | None) -> None:
        self.steps, self.minutes = steps, minutes
        self.seconds = 0.0
        self._last: float | None = None

    def share(self, step: int) -> float:
        """Return which share of the run, 0 to 1, is done when ``step`` steps are."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        return min(self.seconds / (60 * self.minutes), 1.0)

    def expected_steps(self, step: int) -> int:
        """Return the steps of the whole run, estimated from those done where the clock decides."""
        if self.steps is not None:
            return self.steps
        return max(step, round(step / max(self.share(step), 1e-3)))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        self._count(trainer)
        if self.minutes is not None and self.share(trainer.global_step) >= 1:
            trainer.should_stop = True

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._count(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    def _count(self, trainer: lightning.Trainer) -> None:
        now = time.monotonic()
        self.seconds += now - (self._last if self._last is not None else now)
        self._last = now
        if self.minutes is not None and trainer.world_size > 1:
            # The rate follows from the clock, and has to be the same in all processes.
            self.seconds = trainer.strategy.broadcast(self.seconds)
