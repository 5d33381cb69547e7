"""``maskdino audit-dataset``: what is wrong with a data set, what it holds twice, and what leaks into validation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.errors import ArgumentError
from engine.files.output_file import refuse_inputs, reserved
from engine.job import Job
from engine.request import Request, argument, option

if TYPE_CHECKING:
    from training.data.audit.audit import Audit
    from training.data.audit.clean import Clean


class AuditRequest(Request):
    """Which data set is audited, and what is written of that."""

    command: ClassVar[str] = "audit-dataset"

    train: str = argument("Folder with images/ and annotation.json, or with two of them, train/ and val/.", metavar="TRAIN_DIR")
    val: str | None = argument("The validation folder.", metavar="VAL_DIR", default=None)
    json_file: str | None = option(None, "Write everything found as JSON.", alias="json", metavar="FILE")
    report: str | None = option(None, "Write a page with pictures of the pairs and of broken annotations.", metavar="FILE.html")
    write: str | None = option(
        None, "Write a clean copy: mended annotations, no duplicates, nothing of validation in training.", metavar="DIR"
    )
    workers: int | None = option(None, "Threads that read images; by default one per core.", ge=1)
    outside_images: bool = option(False, "Read and copy images outside the data set's folder too, such as ../x.png.")


@terminal_command(AuditRequest)
def command(request: AuditRequest) -> None:
    """Look for duplicates, leakage and broken annotations in a data set."""
    from training.data.audit.report import summary_lines

    with job_on_terminal() as job:
        audit, clean = _run(request, job)
    lines = summary_lines(audit)
    lines += [f"written: {part.images} images with {part.annotations} annotations in {part.folder}" for part in clean]
    typer.echo("\n".join(lines))


@service_command(AuditRequest)
def serve(request: AuditRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: what was found, and what was written."""
    from training.data.audit.report import as_json

    audit, clean = _run(request, job)
    found = as_json(audit)
    found.pop("pairs")  # hundreds of thousands, of a large set; the JSON file has them
    return {**found, "written": [asdict(part) for part in clean]}


def _run(request: AuditRequest, job: Job) -> tuple[Audit, list[Clean]]:
    """Audit, write what is asked for, and return the audit and what was written of each split."""
    from training.data.audit.audit import audit_dataset, find_splits
    from training.data.audit.clean import write_clean
    from training.data.audit.report import as_html, as_json
    from training.data.coco.layout import find_annotations
    from training.data.export.writer import check_new_folder

    outputs = {"json": request.json_file, "report": request.report}
    if request.write is not None:
        check_new_folder(request.write)
        _refuse_within(request.write, outputs)
    folders = [folder for _, folder in find_splits(request.train, request.val)]
    inputs = [path for folder in folders for path in (find_annotations(folder), folder / "images")]
    clean = []
    with reserved(outputs, inputs=inputs) as files:
        audit = audit_dataset(
            request.train,
            request.val,
            outside_images=request.outside_images,
            workers=request.workers,
            progress=job.report,
            cancel=job.cancelled,
        )
        # Images may lie elsewhere in the folder too.
        refuse_inputs({name: file.path for name, file in files.items()}, audit.paths())
        if "json" in files:
            files["json"].write_text(json.dumps(as_json(audit), ensure_ascii=False, indent=1))
        if "report" in files:
            files["report"].write_text(as_html(audit))
        if request.write is not None:
            clean = write_clean(audit, request.write, progress=job.report, cancel=job.cancelled)
    return audit, clean


def _refuse_within(folder: str, outputs: dict[str, str | None]) -> None:
    for name, path in outputs.items():
        if path and Path(path).resolve().is_relative_to(Path(folder).resolve()):
            raise ArgumentError(f"{name} {path} lies in {folder}, which --write makes.", hint="Name a file elsewhere.")
