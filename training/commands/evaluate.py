"""``maskdino evaluate``, for the terminal and for the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.errors import CancelledError
from engine.files.output_file import reserved
from engine.job import Job, Progress
from engine.request import Request, argument, option
from training.errors import require

if TYPE_CHECKING:
    from training.evaluation.layers.evaluation import LayerEvaluation

_STEPS = 100


class EvaluateRequest(Request):
    """Which layers are compared, and what is written of that."""

    command: ClassVar[str] = "evaluate"

    detections: str = argument("What was found: polygons in any format and CRS.", metavar="DETECTIONS")
    annotations: str = argument("What is there: polygons in any format and CRS.", metavar="ANNOTATIONS")
    aoi: str | None = option(None, "Compare inside an area alone: what lies there by more than half.", metavar="VECTOR")
    json_file: str | None = option(None, "Write the figures as JSON.", alias="json", metavar="FILE")
    report: str | None = option(None, "Write a report, one page with pictures.", metavar="FILE.html")
    output: str | None = option(
        None, "Write hits, false positives and misses as a layer.", "-o", "--output", metavar="MATCHES.gpkg"
    )
    score_field: str | None = option(
        None,
        "Field with the detections' scores, which average precision goes by; by default score or confidence.",
        metavar="NAME",
    )
    class_field: str | None = option(
        None,
        "Field with the names of classes; by default class, if both layers have it. Matches are within a class.",
        metavar="NAME",
    )
    annotated_class_field: str | None = option(
        None, "That field of the annotations, if it has another name there.", metavar="NAME"
    )
    boundary_width: float = option(
        1.0, "Width of the strip along borders that boundary IoU compares, in metres.", metavar="M", ge=0.01
    )


@terminal_command(EvaluateRequest)
def command(request: EvaluateRequest) -> None:
    """Say how good a layer of detections is, measured by a layer of annotations."""
    from training.evaluation.layers.document import class_table, summary_rows

    with job_on_terminal() as job:
        evaluation = run(request, job)
    for name, value in summary_rows(evaluation):
        typer.echo(f"{name:<24}{value}")
    typer.echo("\n".join(_aligned(class_table(evaluation))), nl=bool(evaluation.by_class))
    for path in (request.json_file, request.report, request.output):
        if path is not None:
            typer.echo(f"written: {path}")


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Return the rows of a table as lines, the first column to the left and the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in table
    ]


def run(request: EvaluateRequest, job: Job) -> LayerEvaluation:
    """Compare, and write what is asked for.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    from engine.detection.layer_writer import reserve_layer
    from training.evaluation.layers.document import evaluation_document
    from training.evaluation.layers.evaluation import evaluate_layers
    from training.evaluation.layers.match_layer import LAYER, write_matches

    with reserved(
        {"json": request.json_file, "report": request.report, "output": request.output},
        inputs=[request.detections, request.annotations, request.aoi],
        reserve={"output": partial(reserve_layer, own=LAYER)},
    ) as files:
        if "report" in files:
            require("PIL", for_what="A report")
        evaluation = evaluate_layers(
            request.detections,
            request.annotations,
            aoi=request.aoi,
            score_field=request.score_field,
            class_field=request.class_field,
            annotated_class_field=request.annotated_class_field,
            boundary_width=request.boundary_width,
            progress=_reporter(job),
        )
        if "output" in files:
            write_matches(evaluation, files["output"])
        if "json" in files:
            document = evaluation_document(evaluation)
            files["json"].write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
        if "report" in files:
            from training.evaluation.report.page import write_report

            files["report"].write_text(write_report(evaluation))
    return evaluation


@service_command(EvaluateRequest)
def serve(request: EvaluateRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes."""
    from training.evaluation.layers.document import evaluation_document

    return evaluation_document(run(request, job))


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
