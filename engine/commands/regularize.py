"""``maskdino regularize``, for the terminal and for the service."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.detection.polygons.request import RegularizeRequest
from engine.job import Job


@terminal_command(RegularizeRequest)
def command(request: RegularizeRequest) -> None:
    """Draw the outlines of any polygon layer anew, with right angles or smooth; fields, order and CRS stay."""
    with job_on_terminal() as job:
        result = serve(request, job)
    kept = f", {result['kept']} kept as they were" if result["kept"] else ""
    typer.echo(
        f"{result['redrawn']} polygons redrawn{kept}, with {result['corners_after']} corners for {result['corners_before']}; "
        f"{result['features']} features in {result['output']}; {result['seconds']:.1f} s"
    )


@service_command(RegularizeRequest)
def serve(request: RegularizeRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: what became of the layer."""
    from engine.detection.polygons.regularize import run_regularization

    return asdict(run_regularization(request, progress=job.report, cancel=job.cancelled))
