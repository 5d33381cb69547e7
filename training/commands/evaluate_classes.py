"""``maskdino evaluate-classes``, for the terminal and for the service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.files.output_file import reserved
from engine.job import Job
from engine.request import Names, Request, argument, option
from training.errors import require

if TYPE_CHECKING:
    from training.evaluation.classes.evaluation import ClassEvaluation


class EvaluateClassesRequest(Request):
    """Which classes of pixels are compared, and what is written of that."""

    command: ClassVar[str] = "evaluate-classes"

    prediction: str = argument("What was found: a class raster, or a folder of label pictures.", metavar="PREDICTION")
    truth: str = argument(
        "What is there: a class raster, polygons with a field of classes, or a folder of label pictures.", metavar="TRUTH"
    )
    aoi: str | None = option(None, "Compare pixels inside an area alone.", metavar="VECTOR")
    classes: str | None = option(
        None,
        "Names of the labels from 0 on, with commas or a line each in a file; by default those in the raster.",
        metavar="NAMES",
    )
    ignore: Names | None = option(
        None, "Labels or names of classes that are not compared, with commas; by default 255.", metavar="LABELS"
    )
    class_field: str | None = option(None, "Field of the polygons with the names of classes; by default class.", metavar="NAME")
    background: str | None = option(None, "Class of the ground in no polygon; by default it is not compared.", metavar="NAME")
    prediction_suffix: str | None = option(
        None, "What names of predicted pictures end with, by default .png; the rest agrees with the truth's.", metavar="TEXT"
    )
    truth_suffix: str | None = option(
        None,
        "What names of true pictures end with, such as _gtFine_labelTrainIds.png; by default .png.",
        metavar="TEXT",
    )
    reduce_zero_label: bool = option(False, "In true pictures 0 is ignored and 1 is the first class, as in ADE20K.")
    json_file: str | None = option(None, "Write the figures as JSON.", alias="json", metavar="FILE")
    confusion: str | None = option(None, "Write the confusion matrix.", metavar="FILE.csv")


@terminal_command(EvaluateClassesRequest)
def command(request: EvaluateClassesRequest) -> None:
    """Measure a semantic segmentation: mIoU, pixel accuracy, frequency-weighted IoU, by class, and the confusion matrix."""
    from training.evaluation.classes.document import class_lines

    with job_on_terminal() as job:
        evaluation = run(request, job)
    typer.echo("\n".join(class_lines(evaluation)))


def run(request: EvaluateClassesRequest, job: Job) -> ClassEvaluation:
    """Compare, and write what is asked for.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    for package in ("pycocotools", "PIL"):
        require(package, for_what="evaluate-classes")
    from training.evaluation.classes.document import class_document, confusion_csv
    from training.evaluation.classes.evaluation import evaluate_classes
    from training.evaluation.classes.labels import IGNORED

    with reserved(
        {"json": request.json_file, "confusion": request.confusion},
        inputs=[request.prediction, request.truth, request.aoi, request.classes],
    ) as files:
        evaluation = evaluate_classes(
            request.prediction,
            request.truth,
            classes=request.classes,
            ignore=request.ignore or (IGNORED,),
            class_field=request.class_field,
            background=request.background,
            aoi=request.aoi,
            prediction_suffix=request.prediction_suffix,
            truth_suffix=request.truth_suffix,
            reduce_zero_label=request.reduce_zero_label,
            progress=job.reporter("parts"),
        )
        if "json" in files:
            files["json"].write_text(json.dumps(class_document(evaluation), indent=2, allow_nan=False) + "\n")
        if "confusion" in files:
            files["confusion"].write_text(confusion_csv(evaluation.matrix))
    return evaluation


@service_command(EvaluateClassesRequest)
def serve(request: EvaluateClassesRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes."""
    from training.evaluation.classes.document import class_document

    return class_document(run(request, job))
