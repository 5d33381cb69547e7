"""``maskdino evaluate-coco``, for the terminal and for the service."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import typer
from pydantic import model_validator

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.detection.settings import Precision
from engine.distribution import version
from engine.errors import CancelledError, RequestError
from engine.files.output_file import OutputFile, reserved
from engine.job import Job, Progress
from engine.request import Request, device_option, option
from training.errors import require


class EvaluateCocoRequest(Request):
    """By which images what is measured, and how."""

    command: ClassVar[str] = "evaluate-coco"

    images: str = option(..., "Folder of the images.", metavar="DIR")
    annotations: str = option(..., "COCO file with what is in them.", metavar="FILE.json")
    model: str | None = option(None, "An embedded model by name, or a model file.", metavar="MODEL")
    results: str | None = option(None, "Detections to be measured instead of a model's, in COCO's format.", metavar="FILE.json")
    json_file: str | None = option(None, "Write the figures as JSON.", alias="json", metavar="FILE")
    save_results: str | None = option(None, "Write the detections in COCO's format.", metavar="FILE.json")
    max_detections: int = option(100, "Best detections of an image that count: COCO's 100, or MapChallenge's 1000.", ge=1)
    resize: int | None = option(None, "Shorter side that images are brought to for the model.", metavar="PIXELS", ge=1)
    device: str = device_option()
    precision: Precision = option("float32", "Of the model's products; published figures are of float32.")
    batch_size: int | None = option(None, "Images that the model sees at once.", ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> EvaluateCocoRequest:
        if (self.model is None) == (self.results is None):
            raise RequestError("evaluate-coco needs the argument 'model' or 'results', one of them.", field="model")
        return self


@terminal_command(EvaluateCocoRequest)
def command(request: EvaluateCocoRequest) -> None:
    """Measure a model by annotated images, in the columns of the published tables."""
    with job_on_terminal() as job:
        document = serve(request, job)
    typer.echo("\n".join(table_lines(document)))


@service_command(EvaluateCocoRequest)
def serve(request: EvaluateCocoRequest, job: Job) -> dict[str, Any]:
    """Measure, write what is asked for, and return the document that ``--json`` writes.

    Raises:
        CancelledError: the job was cancelled; nothing is written.
    """
    require("pycocotools", for_what="evaluate-coco")
    require("PIL", for_what="evaluate-coco")
    outputs = {"json": request.json_file, "save_results": request.save_results}
    with reserved(outputs, inputs=[request.images, request.annotations, request.results, request.model]) as files:
        return _measure(request, files, job)


def _measure(request: EvaluateCocoRequest, files: dict[str, OutputFile], job: Job) -> dict[str, Any]:
    from training.evaluation.coco.predictions import read_results, results_text
    from training.evaluation.coco.table import KINDS, backends, coco_row
    from training.evaluation.coco.truth import read_truth

    truth = read_truth(request.annotations, request.images)
    found = _predict(request, truth, job) if request.results is None else read_results(Path(request.results), truth)
    document = {
        "format": 1,
        "program": f"maskdino {version()}",
        "model": request.model,
        "annotations": request.annotations,
        "images": len(truth.images),
        "images_without_objects": truth.empty_images,
        "objects": truth.objects,
        "crowds": truth.crowds,
        "merged": truth.merged,
        "images_with_ignored_ground": truth.ignored_images,
        "detections": len(found),
        "max_detections": request.max_detections,
        "resize": request.resize,
        "repairs": truth.repairs,
        "backend": backends()[0],
        "figures": {},
    }
    for kind in KINDS:
        if job.cancelled.is_set():
            raise CancelledError("Cancelled; nothing was written.")
        row = coco_row(truth.dataset, found, kind, max_detections=request.max_detections)
        document["figures"][kind] = {name: None if value != value else value for name, value in asdict(row).items()}
    if "save_results" in files:
        files["save_results"].write_text(results_text(found))
    if "json" in files:
        files["json"].write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    return document


def _predict(request: EvaluateCocoRequest, truth: Any, job: Job) -> list[dict[str, Any]]:
    import engine
    from engine.device import choose_device
    from engine.model.inference import InferenceModel
    from training.evaluation.coco.predictions import predict_images

    device = choose_device(request.device)
    total = len(truth.images)

    def report(done: int, found: int) -> None:
        if job.cancelled.is_set():
            raise CancelledError("Cancelled; nothing was written.")
        job.report(Progress(done=done, total=total, unit="images", buildings=found))

    loaded = engine.load_model(request.model, device=device)
    return predict_images(
        InferenceModel(loaded, precision=request.precision),
        truth,
        max_detections=request.max_detections,
        resize=request.resize,
        batch_size=request.batch_size or (1 if device == "cpu" else 8),
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
