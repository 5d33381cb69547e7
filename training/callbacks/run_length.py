"""How far a run has come: by its steps, or by the clock."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning.pytorch as lightning

log = logging.getLogger(__name__)

_LONGER = 1.3  # times what it took last: how long a validation may take
_LEAST = 1.0  # seconds of a run that are left for steps whatever its validation takes


class RunLength(lightning.Callback):
    """Count the seconds of a run over all its parts, and end it where it is measured in minutes.

    Such a run stops its steps early enough for the last validation. How long that takes is estimated before the first step from
    a few images (the module's ``estimate_validation()``, in seconds), and measured at each validation.

    It has to stand before whoever reads it.

    Args:
        steps: of the whole run; None where the clock decides.
        minutes: of the whole run, validation included; None where steps decide.
        afterwards: what is done with the last validation's results, as a share of the time that it takes.
        began: when this part of the run began (``time.monotonic()``); now by default.

    Attributes:
        seconds: so far, over all parts of a run that was stopped and resumed.
        reserve: seconds kept for the last validation.
    """

    def __init__(
        self, *, steps: int | None, minutes: float | None, afterwards: float = 0.0, began: float | None = None
    ) -> None:
        self.steps, self.minutes, self.afterwards = steps, minutes, afterwards
        self.seconds = self.reserve = 0.0
        self._last = time.monotonic() if began is None else began
        self._validation_began = 0.0

    def share(self, step: int) -> float:
        """Return which share of the run, 0 to 1, is done when ``step`` steps are."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        return min(self.seconds / max(60 * self.minutes - self.reserve, _LEAST), 1.0)

    def expected_steps(self, step: int) -> int:
        """Return the steps of the whole run, estimated from those done where the clock decides."""
        if self.steps is not None:
            return self.steps
        return max(step, round(step / max(self.share(step), 1e-3)))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self.minutes is not None:
            self._keep(trainer, pl_module.estimate_validation())
            if self.reserve:
                log.info("%.0f of %.0f s are kept for the last validation", self.reserve, 60 * self.minutes)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        self._count(trainer)
        if self.minutes is not None and self.share(trainer.global_step) >= 1:
            trainer.should_stop = True

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._validation_began = time.monotonic()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._count(trainer)
        if self.minutes is not None:
            self._keep(trainer, time.monotonic() - self._validation_began)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    def _keep(self, trainer: lightning.Trainer, validation: float) -> None:
        self.reserve = self._agreed(trainer, (_LONGER + self.afterwards) * validation)

    def _count(self, trainer: lightning.Trainer) -> None:
        now = time.monotonic()
        self.seconds += now - self._last
        self._last = now
        if self.minutes is not None:
            self.seconds = self._agreed(trainer, self.seconds)

    def _agreed(self, trainer: lightning.Trainer, seconds: float) -> float:
        # The learning rate follows from the clock, and has to be the same in all processes.
        return trainer.strategy.broadcast(seconds) if trainer.world_size > 1 else seconds
