"""``maskdino audit-dataset``: what is wrong with a data set, what it holds twice, and what leaks into validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from engine.commands import check_arguments, option_types
from engine.commands.terminal import ctrl_c_sets, progress_bar
from engine.errors import ArgumentError
from engine.files.output_file import refuse_inputs, reserved
from engine.job import Job


def command(
    train: Path = typer.Argument(
        help="Folder with images/ and annotation.json, or with two of them, train/ and val/.", metavar="TRAIN_DIR"
    ),
    val: Path | None = typer.Argument(None, help="The validation folder.", metavar="VAL_DIR"),
    json_file: Path | None = typer.Option(None, "--json", help="Write everything found as JSON.", metavar="FILE"),
    report: Path | None = typer.Option(
        None, help="Write a page with pictures of the pairs and of broken annotations.", metavar="FILE.html"
    ),
    write: Path | None = typer.Option(
        None, help="Write a clean copy: mended annotations, no duplicates, nothing of validation in training.", metavar="DIR"
    ),
    workers: int | None = typer.Option(None, help="Threads that read images; by default one per core."),
    outside_images: bool = typer.Option(
        False, "--outside-images", help="Read and copy images outside the data set's folder too, such as ../x.png."
    ),
) -> None:
    """Look for duplicates, leakage and broken annotations in a data set."""
    from training.data.audit.report import summary_lines

    arguments = {
        "train": train, "val": val, "json": json_file, "report": report, "write": write, "workers": workers,
        "outside_images": outside_images,
    }  # fmt: skip
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            audit, clean = run(arguments, job)
    lines = summary_lines(audit)
    lines += [f"written: {part.images} images with {part.annotations} annotations in {part.folder}" for part in clean]
    typer.echo("\n".join(lines))


def run(arguments: dict[str, Any], job: Job) -> tuple[Any, list[Any]]:
    """Audit with the arguments of the command line, by name; return the audit and what was written of each split."""
    from training.data.audit.audit import audit_dataset, find_splits
    from training.data.audit.clean import write_clean
    from training.data.audit.report import as_html, as_json
    from training.data.coco.layout import find_annotations
    from training.data.export.writer import check_new_folder

    workers, write = arguments.get("workers"), arguments.get("write")
    if workers is not None and workers < 1:
        raise ArgumentError(f"workers is {workers}.", hint="Give 1 or more.")
    outputs = {name: arguments.get(name) for name in ("json", "report")}
    if write:
        check_new_folder(write)
        _refuse_within(write, outputs)
    folders = [folder for _, folder in find_splits(arguments["train"], arguments.get("val"))]
    inputs = [path for folder in folders for path in (find_annotations(folder), folder / "images")]
    clean = []
    with reserved(outputs, inputs=inputs) as files:
        audit = audit_dataset(
            arguments["train"],
            arguments.get("val"),
            outside_images=bool(arguments.get("outside_images")),
            workers=workers,
            progress=job.report,
            cancel=job.cancelled,
        )
        # Images may lie elsewhere in the folder too.
        refuse_inputs({name: file.path for name, file in files.items()}, audit.paths())
        if "json" in files:
            files["json"].write_text(json.dumps(as_json(audit), ensure_ascii=False, indent=1))
        if "report" in files:
            files["report"].write_text(as_html(audit))
        if write:
            clean = write_clean(audit, write, progress=job.report, cancel=job.cancelled)
    return audit, clean


def _refuse_within(folder: str | Path, outputs: dict[str, Any]) -> None:
    for name, path in outputs.items():
        if path and Path(path).resolve().is_relative_to(Path(folder).resolve()):
            raise ArgumentError(f"{name} {path} lies in {folder}, which --write makes.", hint="Name a file elsewhere.")


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    from dataclasses import asdict

    from training.data.audit.report import as_json

    check_arguments("audit-dataset", arguments, types=option_types(command), required=("train",))
    audit, clean = run(arguments, job)
    found = as_json(audit)
    found.pop("pairs")  # hundreds of thousands, of a large set; the JSON file has them
    return {**found, "written": [asdict(part) for part in clean]}
