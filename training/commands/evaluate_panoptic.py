"""``maskdino evaluate-panoptic``: the arguments, for the terminal and for the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import check_arguments, option_types
from engine.commands.terminal import ctrl_c_sets, progress_bar
from engine.files.output_file import reserved
from engine.job import Job
from training.errors import require

if TYPE_CHECKING:
    from training.evaluation.panoptic.evaluation import PanopticEvaluation

_FILES = ("prediction", "truth", "prediction_folder", "truth_folder")


def command(
    prediction: Path = typer.Argument(help="What was found: a file in COCO's panoptic format.", metavar="PREDICTION.json"),
    truth: Path = typer.Argument(help="What is there, in the same format.", metavar="TRUTH.json"),
    prediction_folder: Path | None = typer.Option(
        None, help="PNG files of the prediction; by default the folder PREDICTION.", metavar="DIR"
    ),
    truth_folder: Path | None = typer.Option(None, help="Those of the truth; by default the folder TRUTH.", metavar="DIR"),
    json_file: Path | None = typer.Option(None, "--json", help="Write the figures as JSON.", metavar="FILE"),
    confusion: Path | None = typer.Option(None, help="Write the confusion matrix of the pixels.", metavar="FILE.csv"),
) -> None:
    """Measure panoptic segmentations: PQ, SQ and RQ of things and stuff, and mIoU, in the columns of the published tables."""
    from training.evaluation.panoptic.document import panoptic_lines

    arguments = {
        "prediction": prediction, "truth": truth, "prediction_folder": prediction_folder, "truth_folder": truth_folder,
        "json": json_file, "confusion": confusion,
    }  # fmt: skip
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            evaluation = run(arguments, job)
    typer.echo("\n".join(panoptic_lines(evaluation)))


def run(arguments: dict[str, Any], job: Job) -> PanopticEvaluation:
    """Compare with the arguments of the command line, by name, and write what is asked for.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    for package in ("pycocotools", "PIL"):
        require(package, for_what="evaluate-panoptic")
    from training.evaluation.classes.document import confusion_csv
    from training.evaluation.panoptic.document import panoptic_document
    from training.evaluation.panoptic.evaluation import evaluate_panoptic

    outputs = {name: arguments.get(name) for name in ("json", "confusion")}
    files = {name: arguments[name] for name in _FILES if arguments.get(name)}
    with reserved(outputs, inputs=files.values()) as written:
        evaluation = evaluate_panoptic(**files, progress=job.reporter("pictures"))
        if "json" in written:
            text = json.dumps(panoptic_document(evaluation), indent=2, allow_nan=False)
            written["json"].write_text(text + "\n")
        if "confusion" in written:
            written["confusion"].write_text(confusion_csv(evaluation.matrix))
    return evaluation


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    from training.evaluation.panoptic.document import panoptic_document

    check_arguments("evaluate-panoptic", arguments, types=option_types(command), required=("prediction", "truth"))
    return panoptic_document(run(arguments, job))
