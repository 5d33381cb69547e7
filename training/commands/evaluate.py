"""``maskdino evaluate``: the arguments, for the terminal and for the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import check_arguments, option_types
from engine.commands.terminal import ctrl_c_sets, progress_bar
from engine.errors import CancelledError
from engine.files.output_file import reserved
from engine.job import Job, Progress
from training.errors import require

if TYPE_CHECKING:
    from training.evaluation.layers.evaluation import LayerEvaluation

_STEPS = 100
_OPTIONS = ("score_field", "class_field", "annotated_class_field", "boundary_width")


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
    class_field: str | None = typer.Option(
        None, help="Field with the names of classes; by default class, if both layers have it. Matches are within a class."
    ),
    annotated_class_field: str | None = typer.Option(None, help="That field of the annotations, if it has another name there."),
    boundary_width: float = typer.Option(1.0, help="Width of the strip along borders that boundary IoU compares.", metavar="M"),
) -> None:
    """Say how good a layer of detections is, measured by a layer of annotations."""
    from training.evaluation.layers.document import class_table, summary_rows
    from training.evaluation.tables import aligned

    arguments = {
        "detections": detections, "annotations": annotations, "aoi": aoi, "json": json_file, "report": report,
        "output": output, "score_field": score_field, "class_field": class_field,
        "annotated_class_field": annotated_class_field, "boundary_width": boundary_width,
    }  # fmt: skip
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            evaluation = run(arguments, job)
    for name, value in summary_rows(evaluation):
        typer.echo(f"{name:<24}{value}")
    typer.echo("\n".join(aligned(class_table(evaluation))), nl=bool(evaluation.by_class))
    for path in (json_file, report, output):
        if path is not None:
            typer.echo(f"written: {path}")


def run(arguments: dict[str, Any], job: Job) -> LayerEvaluation:
    """Compare with the arguments of the command line, by name, and write what is asked for.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    from engine.detection.layer_writer import reserve_layer
    from training.evaluation.layers.document import evaluation_document
    from training.evaluation.layers.evaluation import evaluate_layers
    from training.evaluation.layers.match_layer import LAYER, write_matches

    names = ("detections", "annotations", "aoi")
    options = {name: arguments[name] for name in _OPTIONS if arguments.get(name) is not None}
    with reserved(
        {name: arguments.get(name) for name in ("json", "report", "output")},
        inputs=[arguments.get(name) for name in names],
        reserve={"output": partial(reserve_layer, own=LAYER)},
    ) as files:
        if "report" in files:
            require("PIL", for_what="A report")
        detections, annotations, aoi = (arguments.get(name) for name in names)
        evaluation = evaluate_layers(detections, annotations, aoi=aoi, progress=_reporter(job), **options)
        if "output" in files:
            write_matches(evaluation, files["output"])
        if "json" in files:
            document = evaluation_document(evaluation)
            files["json"].write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
        if "report" in files:
            from training.evaluation.report.page import write_report

            files["report"].write_text(write_report(evaluation))
    return evaluation


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    from training.evaluation.layers.document import evaluation_document

    check_arguments("evaluate", arguments, types=option_types(command), required=("detections", "annotations"))
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
