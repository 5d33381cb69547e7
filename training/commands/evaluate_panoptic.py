"""``maskdino evaluate-panoptic``, for the terminal and for the service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.files.output_file import reserved
from engine.job import Job
from engine.request import Request, argument, option
from training.errors import require

if TYPE_CHECKING:
    from training.evaluation.panoptic.evaluation import PanopticEvaluation


class EvaluatePanopticRequest(Request):
    """Which segmentations are compared, and what is written of that."""

    command: ClassVar[str] = "evaluate-panoptic"

    prediction: str = argument("What was found: a file in COCO's panoptic format.", metavar="PREDICTION.json")
    truth: str = argument("What is there, in the same format.", metavar="TRUTH.json")
    prediction_folder: str | None = option(
        None, "PNG files of the prediction; by default the folder beside it that has its name.", metavar="DIR"
    )
    truth_folder: str | None = option(None, "PNG files of the truth; by default its own folder likewise.", metavar="DIR")
    json_file: str | None = option(None, "Write the figures as JSON.", alias="json", metavar="FILE")
    confusion: str | None = option(None, "Write the confusion matrix of the pixels.", metavar="FILE.csv")


@terminal_command(EvaluatePanopticRequest)
def command(request: EvaluatePanopticRequest) -> None:
    """Measure panoptic segmentations: PQ, SQ and RQ of things and stuff, and mIoU, in the columns of the published tables."""
    from training.evaluation.panoptic.document import panoptic_lines

    with job_on_terminal() as job:
        evaluation = run(request, job)
    typer.echo("\n".join(panoptic_lines(evaluation)))


def run(request: EvaluatePanopticRequest, job: Job) -> PanopticEvaluation:
    """Compare, and write what is asked for.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    for package in ("pycocotools", "PIL"):
        require(package, for_what="evaluate-panoptic")
    from training.evaluation.classes.document import confusion_csv
    from training.evaluation.panoptic.document import panoptic_document
    from training.evaluation.panoptic.evaluation import evaluate_panoptic

    with reserved(
        {"json": request.json_file, "confusion": request.confusion},
        inputs=[request.prediction, request.truth, request.prediction_folder, request.truth_folder],
    ) as files:
        evaluation = evaluate_panoptic(
            request.prediction,
            request.truth,
            prediction_folder=request.prediction_folder,
            truth_folder=request.truth_folder,
            progress=job.reporter("pictures"),
        )
        if "json" in files:
            files["json"].write_text(json.dumps(panoptic_document(evaluation), indent=2, allow_nan=False) + "\n")
        if "confusion" in files:
            files["confusion"].write_text(confusion_csv(evaluation.matrix))
    return evaluation


@service_command(EvaluatePanopticRequest)
def serve(request: EvaluatePanopticRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes."""
    from training.evaluation.panoptic.document import panoptic_document

    return panoptic_document(run(request, job))
