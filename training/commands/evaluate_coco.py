"""``maskdino evaluate-coco``: the arguments, for the terminal and for the service."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from engine.commands import check_arguments, option_types
from engine.commands.choices import Precision
from engine.commands.terminal import ctrl_c_sets, progress_bar
from engine.distribution import version
from engine.errors import ArgumentError, CancelledError
from engine.files.output_file import OutputFile, reserved
from engine.job import Job, Progress
from training.errors import require

_NUMBERS = ("max_detections", "resize", "batch_size")


def command(
    images: Path = typer.Option(..., help="Folder of the images.", metavar="DIR"),
    annotations: Path = typer.Option(..., help="COCO file with what is in them.", metavar="FILE.json"),
    model: str | None = typer.Option(None, help="An embedded model by name, or a model file."),
    results: Path | None = typer.Option(
        None, help="Detections to be measured instead of a model's, in COCO's format.", metavar="FILE.json"
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the figures as JSON.", metavar="FILE"),
    save_results: Path | None = typer.Option(None, help="Write the detections in COCO's format.", metavar="FILE.json"),
    max_detections: int = typer.Option(100, help="Best detections of an image that count: COCO's 100, or MapChallenge's 1000."),
    resize: int | None = typer.Option(None, help="Shorter side that images are brought to for the model.", metavar="PIXELS"),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:N or mps."),
    precision: Precision = typer.Option(Precision.float32, help="Of the model's products; published figures are of float32."),
    batch_size: int | None = typer.Option(None, help="Images that the model sees at once."),
) -> None:
    """Measure a model by annotated images, in the columns of the published tables."""
    if (model is None) == (results is None):
        raise typer.BadParameter("give --model or --results, one of them")
    arguments = {
        "images": images, "annotations": annotations, "model": model, "results": results, "json": json_file,
        "save_results": save_results, "max_detections": max_detections, "resize": resize, "device": device,
        "precision": precision.value, "batch_size": batch_size,
    }  # fmt: skip
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            document = run(arguments, job)
    typer.echo("\n".join(table_lines(document)))


def run(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Measure with the arguments of the command line, by name, write what is asked for, and return the figures.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    require("pycocotools", for_what="evaluate-coco")
    require("PIL", for_what="evaluate-coco")
    for name in _NUMBERS:
        if arguments.get(name) is not None and arguments[name] < 1:
            raise ArgumentError(f"{name} is {arguments[name]}.", hint="Give 1 or more.")
    outputs = {name: arguments.get(name) for name in ("json", "save_results")}
    with reserved(outputs, inputs=[arguments.get(name) for name in ("images", "annotations", "results", "model")]) as files:
        return _measure(arguments, files, job)


def _measure(arguments: dict[str, Any], files: dict[str, OutputFile], job: Job) -> dict[str, Any]:
    from training.evaluation.coco.predictions import read_results, results_text
    from training.evaluation.coco.table import KINDS, backends, coco_row
    from training.evaluation.coco.truth import read_truth

    most = arguments.get("max_detections") or 100
    truth = read_truth(arguments["annotations"], arguments["images"])
    found = (
        read_results(Path(arguments["results"]), truth) if arguments.get("results") else _predict(arguments, truth, most, job)
    )
    document = {
        "format": 1,
        "program": f"maskdino {version()}",
        "model": None if arguments.get("model") is None else str(arguments["model"]),
        "annotations": str(arguments["annotations"]),
        "images": len(truth.images),
        "images_without_objects": truth.empty_images,
        "objects": truth.objects,
        "crowds": truth.crowds,
        "merged": truth.merged,
        "images_with_ignored_ground": truth.ignored_images,
        "detections": len(found),
        "max_detections": most,
        "resize": arguments.get("resize"),
        "repairs": truth.repairs,
        "backend": backends()[0],
        "figures": {},
    }
    for kind in KINDS:
        if job.cancelled.is_set():
            raise CancelledError("Cancelled; nothing was written.")
        row = coco_row(truth.dataset, found, kind, max_detections=most)
        document["figures"][kind] = {name: None if value != value else value for name, value in asdict(row).items()}
    if "save_results" in files:
        files["save_results"].write_text(results_text(found))
    if "json" in files:
        files["json"].write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    return document


def _predict(arguments: dict[str, Any], truth: Any, most: int, job: Job) -> list[dict[str, Any]]:
    import engine
    from engine.device import choose_device
    from engine.model.inference import InferenceModel
    from training.evaluation.coco.predictions import predict_images

    device = choose_device(arguments.get("device") or "auto")
    total = len(truth.images)

    def report(done: int, found: int) -> None:
        if job.cancelled.is_set():
            raise CancelledError("Cancelled; nothing was written.")
        job.report(Progress(done=done, total=total, unit="images", buildings=found))

    loaded = engine.load_model(arguments["model"], device=device)
    return predict_images(
        InferenceModel(loaded, precision=arguments.get("precision") or "float32"),
        truth,
        max_detections=most,
        resize=arguments.get("resize"),
        batch_size=arguments.get("batch_size") or (1 if device == "cpu" else 8),
        progress=report,
    )


def table_lines(document: dict[str, Any]) -> list[str]:
    """Return the figures as a person reads them: what they rest on, then a row a kind."""
    from training.evaluation.coco.table import COLUMNS

    empty, repairs = document["images_without_objects"], document["repairs"]
    regions = {
        "annotated crowds": document["crowds"],
        "objects that are several drawn as one": document["merged"],
        "images with ground that is not labelled": document["images_with_ignored_ground"],
    }
    anywhere = "" if not any(regions.values()) else " outside the regions named below"
    lines = [
        f"{document['images']:,} images with {document['objects']:,} annotated objects, "
        f"{document['detections']:,} detections, at most {document['max_detections']} of an image counted",
        *([f"images without an annotated object, where every detection{anywhere} counts as wrong: {empty:,}"] if empty else []),
        *(f"{what}, where nothing is counted as found, missed or wrong: {count:,}" for what, count in regions.items() if count),
        *(f"{what}: {count:,}" for what, count in repairs.items()),
        "",
        "          " + "".join(f"{name:>7}" for name in COLUMNS),
    ]
    for kind, figures in document["figures"].items():
        lines.append(f"{kind:<10}" + "".join("      -" if value is None else f"{value:7.3f}" for value in figures.values()))
    return lines


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service: the document that ``--json`` writes.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    check_arguments("evaluate-coco", arguments, types=option_types(command), required=("images", "annotations"))
    if bool(arguments.get("model")) == bool(arguments.get("results")):
        raise ArgumentError("evaluate-coco needs the argument 'model' or 'results', one of them.")
    return run(arguments, job)
