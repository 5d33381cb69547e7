"""Run a command whose progress and result are printed as JSON Lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from engine.commands.terminal import ctrl_c_sets
from engine.errors import CancelledError
from engine.job import Job
from engine.json_lines import EventHandler, EventStream

Summary = TypeVar("Summary")


def with_events(work: Callable[[Job], Summary]) -> Summary:
    """Do some work, print events meanwhile and at its end, and return its summary, a dataclass.

    A summary that says it is ``cancelled`` is that of a job cut short; errors are printed and go on their way.
    """
    stream = EventStream.take_stdout()
    logging.getLogger("engine").handlers = [EventHandler(stream)]
    job = Job(report=lambda progress: stream.send("progress", **asdict(progress)))
    try:
        with ctrl_c_sets(job.cancelled):
            summary = work(job)
    except CancelledError as error:
        stream.send("cancelled", message=error.message)
        raise
    except Exception as error:
        stream.send("error", **_described(error))
        raise
    stream.send("cancelled" if getattr(summary, "cancelled", False) else "result", **asdict(summary))
    return summary


def _described(error: Exception) -> dict[str, str | None]:
    return {
        "code": getattr(error, "code", "internal"),
        "message": getattr(error, "message", None) or f"{type(error).__name__}: {error}",
        "hint": getattr(error, "hint", None),
    }
