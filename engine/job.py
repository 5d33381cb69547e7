"""What a running job and whoever waits for it tell one another, whether that is a terminal or the service."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.errors import CancelledError


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: units of work done.
        total: units of work in all.
        unit: what is counted.
        buildings: buildings that are ready so far, those at the moving front are still to come; None where none are looked for.
        megapixels_per_second: ground covered, in pixels that the model sees; None before there is anything to measure.
        seconds_left: estimate, None before there is anything to base it on.
        device: where the model runs, such as ``cuda:0``; None for jobs without one.
        note: what else a person would want to see meanwhile, such as the loss of a training.
    """

    done: int
    total: int
    unit: str = "tiles"
    buildings: int | None = 0
    megapixels_per_second: float | None = None
    seconds_left: float | None = None
    device: str | None = None
    note: str = ""


@dataclass
class Job:
    """One request on its way.

    Attributes:
        report: called with the progress now and then, in the thread that runs the job.
        cancelled: set by whoever wants the job to end; it must do so within two seconds.
    """

    report: Callable[[Any], None]
    cancelled: threading.Event = field(default_factory=threading.Event)

    def reporter(self, unit: str) -> Callable[[int, int], None]:
        """Return a function that reports how many units of work are done, of how many.

        It raises ``CancelledError`` once the job is cancelled: for jobs that write nothing before their end.
        """

        def report(done: int, total: int) -> None:
            if self.cancelled.is_set():
                raise CancelledError("Cancelled; nothing was written.")
            self.report(Progress(done=done, total=total, unit=unit, buildings=None))

        return report
