"""``maskdino evaluate-classes``: the arguments, for the terminal and for the service."""

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
    from training.evaluation.classes.evaluation import ClassEvaluation

_OPTIONS = (
    "classes", "class_field", "background", "aoi", "prediction_suffix", "truth_suffix", "reduce_zero_label",
)  # fmt: skip


def command(
    prediction: str = typer.Argument(help="What was found: a class raster, or a folder of label pictures."),
    truth: str = typer.Argument(
        help="What is there: a class raster, polygons with a field of classes, or a folder of label pictures."
    ),
    aoi: str | None = typer.Option(None, help="Compare pixels inside an area alone.", metavar="VECTOR"),
    classes: str | None = typer.Option(
        None, help="Names of the labels from 0 on, with commas or a line each in a file; by default those in the raster.",
        metavar="NAMES",
    ),
    ignore: str = typer.Option("255", help="Labels or names that are not compared, with commas.", metavar="LABELS"),
    class_field: str | None = typer.Option(None, help="Field of the polygons with names of classes; by default class."),
    background: str | None = typer.Option(
        None, help="Class of the ground in no polygon; by default it is not compared.", metavar="NAME"
    ),
    prediction_suffix: str | None = typer.Option(
        None, help="What names of predicted pictures end with; by default .png. What is left agrees with the truth's."
    ),
    truth_suffix: str | None = typer.Option(
        None, help="What names of true pictures end with, such as _gtFine_labelTrainIds.png; by default .png."
    ),
    reduce_zero_label: bool = typer.Option(
        False, "--reduce-zero-label", help="In true pictures 0 is ignored and 1 the first class, as in ADE20K."
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the figures as JSON.", metavar="FILE"),
    confusion: Path | None = typer.Option(None, help="Write the confusion matrix.", metavar="FILE.csv"),
) -> None:  # fmt: skip
    """Measure a semantic segmentation: mIoU, pixel accuracy, frequency-weighted IoU, by class, and the confusion matrix."""
    from training.evaluation.classes.document import class_lines

    arguments = {
        "prediction": prediction, "truth": truth, "aoi": aoi, "classes": classes, "ignore": ignore,
        "class_field": class_field, "background": background, "prediction_suffix": prediction_suffix,
        "truth_suffix": truth_suffix, "reduce_zero_label": reduce_zero_label, "json": json_file, "confusion": confusion,
    }  # fmt: skip
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            evaluation = run(arguments, job)
    typer.echo("\n".join(class_lines(evaluation)))


def run(arguments: dict[str, Any], job: Job) -> ClassEvaluation:
    """Compare with the arguments of the command line, by name, and write what is asked for.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    require("PIL", for_what="evaluate-classes")
    from training.evaluation.classes.document import class_document, confusion_csv
    from training.evaluation.classes.evaluation import evaluate_classes

    options = {name: arguments[name] for name in _OPTIONS if arguments.get(name) is not None}
    if arguments.get("ignore") is not None:
        options["ignore"] = [name.strip() for name in arguments["ignore"].split(",") if name.strip()]
    inputs = [arguments[name] for name in ("prediction", "truth", "aoi", "classes") if arguments.get(name)]
    with reserved({name: arguments.get(name) for name in ("json", "confusion")}, inputs=inputs) as written:
        evaluation = evaluate_classes(arguments["prediction"], arguments["truth"], progress=job.reporter("parts"), **options)
        if "json" in written:
            written["json"].write_text(json.dumps(class_document(evaluation), indent=2, allow_nan=False) + "\n")
        if "confusion" in written:
            written["confusion"].write_text(confusion_csv(evaluation.matrix))
    return evaluation


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    from training.evaluation.classes.document import class_document

    check_arguments("evaluate-classes", arguments, types=option_types(command), required=("prediction", "truth"))
    return class_document(run(arguments, job))
