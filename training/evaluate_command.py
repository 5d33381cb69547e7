"""``maskdino evaluate``: the arguments, for the terminal and for the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import check_arguments
from engine.errors import ArgumentError, CancelledError
from engine.job import Job, Progress
from engine.terminal import ctrl_c_sets, progress_bar
from training.errors import require
from training.evaluation.text_output import check_text_output, write_text

if TYPE_CHECKING:
    from training.evaluation.layer_evaluation import LayerEvaluation

_STEPS = 100


def command(
    detections: str = typer.Argument(help="What was found: polygons in any format and CRS.", metavar="DETECTIONS"),
    annotations: str = typer.Argument(help="What is there: polygons in any format and CRS.", metavar="ANNOTATIONS"),
    aoi: str | None = typer.Option(
        None, help="Compare inside an area alone: what lies there by more than half.", metavar="VECTOR"
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the figures as JSON.", metavar="FILE"),
    report: Path | None = typer.Option(None, help="Write a report, one page with pictures.", metavar="FILE.html"),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Write hits, false positives and misses as a layer.", metavar="MATCHES.gpkg"
    ),
    score_field: str | None = typer.Option(None, help="Field with the detections' scores; by default score or confidence."),
    boundary_width: float = typer.Option(1.0, help="Width of the strip along borders that boundary IoU compares.", metavar="M"),
) -> None:
    """Say how good a layer of detections is, measured by a layer of annotations."""
    from training.evaluation.evaluation_document import summary_rows

    arguments = {
        "detections": detections, "annotations": annotations, "aoi": aoi, "json": json_file, "report": report,
        "output": output, "score_field": score_field, "boundary_width": boundary_width,
    }  # fmt: skip
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            evaluation = run(arguments, job)
    for name, value in summary_rows(evaluation):
        typer.echo(f"{name:<24}{value}")
    for path in (json_file, report, output):
        if path is not None:
            typer.echo(f"written: {path}")


def run(arguments: dict[str, Any], job: Job) -> LayerEvaluation:
    """Compare with the arguments of the command line, by name, and write what is asked for.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    from training.evaluation.evaluation_document import evaluation_document
    from training.evaluation.layer_evaluation import evaluate_layers
    from training.evaluation.match_layer import check_output, write_matches

    json_file, report, output = (_path(arguments.get(name)) for name in ("json", "report", "output"))
    inputs = [Path(str(arguments[name]).partition("|")[0]).resolve() for name in ("detections", "annotations")]
    for path in (json_file, report, output):
        if path is not None and path.resolve() in inputs:
            raise ArgumentError(f"The output {path} is one of the layers to be compared.", hint="Name another file.")
    for path in (json_file, report):
        if path is not None:
            check_text_output(path)
    if output is not None:
        check_output(output)
    if report is not None:
        require("PIL", for_what="A report")
    options = {name: arguments[name] for name in ("score_field", "boundary_width") if arguments.get(name) is not None}
    evaluation = evaluate_layers(
        arguments["detections"], arguments["annotations"], aoi=arguments.get("aoi"), progress=_reporter(job), **options
    )
    if output is not None:
        write_matches(evaluation, output)
    if json_file is not None:
        write_text(json_file, json.dumps(evaluation_document(evaluation), indent=2, allow_nan=False) + "\n")
    if report is not None:
        from training.evaluation.report import write_report

        write_text(report, write_report(evaluation))
    return evaluation


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes.

    Raises:
        ArgumentError: an argument is missing, or unknown.
    """
    from training.evaluation.evaluation_document import evaluation_document

    known = {name.replace("json_file", "json") for name in command.__annotations__} - {"return"}
    check_arguments("evaluate", arguments, known=known, required=("detections", "annotations"))
    return evaluation_document(run(arguments, job))


def _reporter(job: Job) -> Callable[[float], None]:
    told = -1

    def report(share: float) -> None:
        nonlocal told
        if job.cancelled.is_set():
            raise CancelledError("Cancelled; nothing was written.")
        if int(share * _STEPS) > told:
            told = int(share * _STEPS)
            job.report(Progress(done=told, total=_STEPS, unit="%", buildings=None))

    return report


def _path(value: Any) -> Path | None:
    return None if value is None else Path(value)
