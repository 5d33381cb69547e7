"""``maskdino detect``, for the terminal and for the service, and what a terminal shows meanwhile."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import CANCELLED, ctrl_c_sets, job_on_terminal, leave
from engine.detection.request import DetectRequest
from engine.errors import CancelledError
from engine.job import Job
from engine.json_lines import EventHandler, EventStream
from engine.request import option

if TYPE_CHECKING:
    from engine.detection.pipeline import Summary


class TerminalRequest(DetectRequest):
    """A detection, and how a terminal is told of it."""

    json_lines: bool = option(False, "Print progress and result as JSON Lines.")


@terminal_command(TerminalRequest)
def command(request: TerminalRequest) -> None:
    """Find the buildings of a raster, or the objects of a model's classes, and write them as polygons."""
    if request.json_lines:
        _with_events(request)
    else:
        _on_terminal(request)


@service_command(DetectRequest)
def serve(request: DetectRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the summary."""
    return asdict(_run(request, job))


def _run(request: DetectRequest, job: Job) -> Summary:
    from engine.detection.pipeline import run_detection

    return run_detection(request, progress=job.report, cancel=job.cancelled)


def _on_terminal(request: DetectRequest) -> None:
    with job_on_terminal() as job:
        summary = _run(request, job)
    if summary.cancelled:
        leave(CANCELLED, f"cancelled; the {_found(summary)} found so far are in {summary.output}. --resume goes on.")
    area = "" if math.isnan(summary.area_m2) else f" ({summary.area_m2:,.0f} m2)"
    seconds = summary.seconds["total"]
    typer.echo(
        f"{_found(summary)}{area} in {summary.output}; "
        f"{seconds:.1f} s, {summary.megapixels / seconds:.2f} MPix/s on {summary.device}"
    )


def _found(summary: Summary) -> str:
    """Return how many objects were found, by class where they are not buildings: ``3 objects (2 car, 1 truck)``."""
    from engine.detection.classes import finds_buildings_alone

    if finds_buildings_alone(tuple(summary.by_class)):
        return f"{summary.buildings} buildings"
    by_class = ", ".join(f"{count} {name}" for name, count in summary.by_class.items() if count)
    return f"{summary.buildings} objects{f' ({by_class})' if by_class else ''}"


def _with_events(request: DetectRequest) -> None:
    stream = EventStream.take_stdout()
    logging.getLogger("engine").handlers = [EventHandler(stream)]
    job = Job(report=lambda progress: stream.send("progress", **asdict(progress)))
    try:
        with ctrl_c_sets(job.cancelled):
            summary = _run(request, job)
    except CancelledError as error:
        stream.send("cancelled", message=error.message)
        raise
    except Exception as error:
        stream.send("error", **describe(error))
        raise
    stream.send("cancelled" if summary.cancelled else "result", **asdict(summary))
    if summary.cancelled:
        leave(CANCELLED, f"cancelled; --resume goes on with {summary.output}.")


def describe(error: Exception) -> dict[str, str | None]:
    """Return the fields of an error event."""
    return {
        "code": getattr(error, "code", "internal"),
        "message": getattr(error, "message", None) or f"{type(error).__name__}: {error}",
        "hint": getattr(error, "hint", None),
    }
