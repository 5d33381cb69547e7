"""``maskdino segment``, for the terminal and for the service, and what a terminal shows meanwhile."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.events import with_events
from engine.commands.terminal import job_on_terminal
from engine.job import Job
from engine.request import option
from engine.segmentation.request import SegmentRequest

if TYPE_CHECKING:
    from engine.segmentation.pipeline import SegmentationSummary


class TerminalRequest(SegmentRequest):
    """A segmentation, and how a terminal is told of it."""

    json_lines: bool = option(False, "Print progress and result as JSON Lines.")


@terminal_command(TerminalRequest)
def command(request: TerminalRequest) -> None:
    """Give each pixel of a raster a class, and write a raster of class numbers with their names and colours."""
    if request.json_lines:
        with_events(lambda job: _run(request, job))
    else:
        _on_terminal(request)


@service_command(SegmentRequest)
def serve(request: SegmentRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the summary."""
    return asdict(_run(request, job))


def _run(request: SegmentRequest, job: Job) -> SegmentationSummary:
    from engine.segmentation.pipeline import run_segmentation

    return run_segmentation(request, progress=job.report, cancel=job.cancelled)


def _on_terminal(request: SegmentRequest) -> None:
    with job_on_terminal() as job:
        summary = _run(request, job)
    covered = {name: cover for name, cover in summary.classes.items() if cover.pixels}
    for name, cover in sorted(covered.items(), key=lambda item: -item[1].pixels):
        area = "" if math.isnan(cover.area_m2) else f"  {cover.area_m2:,.0f} m2"
        typer.echo(f"{name}: {cover.pixels:,} pixels{area}")
    seconds = summary.seconds["total"]
    typer.echo(
        f"{len(covered)} classes in {summary.output}; "
        f"{seconds:.1f} s, {summary.megapixels / seconds:.2f} MPix/s on {summary.device}"
    )
