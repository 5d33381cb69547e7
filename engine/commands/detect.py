"""``maskdino detect``, for the terminal and for the service, and what a terminal shows meanwhile."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.events import with_events
from engine.commands.terminal import CANCELLED, job_on_terminal, leave
from engine.detection.request import DetectRequest
from engine.job import Job
from engine.request import option

if TYPE_CHECKING:
    from engine.detection.last_predictor import LastPredictor
    from engine.detection.pipeline import Summary


class TerminalRequest(DetectRequest):
    """A detection, and how a terminal is told of it."""

    json_lines: bool = option(False, "Print progress and result as JSON Lines.")


@terminal_command(TerminalRequest)
def command(request: TerminalRequest) -> None:
    """Find the buildings of a raster, or the objects of a model's classes, and write them as polygons."""
    if request.json_lines:
        summary = with_events(lambda job: _run(request, job))
        if summary.cancelled:
            leave(CANCELLED, f"cancelled; --resume goes on with {summary.output}.")
    else:
        _on_terminal(request)


@service_command(DetectRequest)
def serve(request: DetectRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the summary. The model stays in memory for the next request."""
    return asdict(_run(request, job, make_predictor=_last_predictor()))


@cache
def _last_predictor() -> LastPredictor:
    from engine.detection.last_predictor import LastPredictor

    return LastPredictor()


def _run(request: DetectRequest, job: Job, *, make_predictor: LastPredictor | None = None) -> Summary:
    from engine.detection.pipeline import run_detection

    return run_detection(request, make_predictor=make_predictor, progress=job.report, cancel=job.cancelled)


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
