"""``maskdino audit-dataset``: what is wrong with a data set, what it holds twice, and what leaks into validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from engine.commands import check_arguments
from engine.errors import ArgumentError, OutputError
from engine.job import Job
from engine.terminal import ctrl_c_sets, progress_bar


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
    workers: int | None = typer.Option(None, help="Threads that read images; by default one a core."),
) -> None:
    """Look for duplicates, leakage and broken annotations in a data set."""
    from training.data.audit_report import summary_lines

    arguments = {"train": train, "val": val, "json": json_file, "report": report, "write": write, "workers": workers}
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            audit, clean = run(arguments, job)
    lines = summary_lines(audit)
    lines += [f"written: {part.images} images with {part.annotations} annotations in {part.folder}" for part in clean]
    typer.echo("\n".join(lines))


def run(arguments: dict[str, Any], job: Job) -> tuple[Any, list[Any]]:
    """Audit with the arguments of the command line, by name; return the audit and what was written of each split."""
    from training.data.audit import audit_dataset
    from training.data.audit_clean import write_clean
    from training.data.audit_report import as_html, as_json

    workers = arguments.get("workers")
    if workers is not None and workers < 1:
        raise ArgumentError(f"workers is {workers}.", hint="Give 1 or more.")
    targets = {name: Path(arguments[name]) for name in ("json", "report") if arguments.get(name)}
    for name, target in targets.items():
        if not target.absolute().parent.is_dir():  # said before the minutes of work, not after
            raise OutputError(f"{name} {target} cannot be written: its folder does not exist.", hint="Make it first.")
    if arguments.get("write") and Path(arguments["write"]).exists() and any(Path(arguments["write"]).iterdir()):
        raise OutputError(f"The folder {arguments['write']} is there already.", hint="Name another one, or remove it.")
    audit = audit_dataset(arguments["train"], arguments.get("val"), workers=workers, progress=job.report, cancel=job.cancelled)
    if "json" in targets:
        _write(targets["json"], json.dumps(as_json(audit), ensure_ascii=False, indent=1))
    if "report" in targets:
        _write(targets["report"], as_html(audit))
    clean = []
    if arguments.get("write"):
        clean = write_clean(audit, arguments["write"], progress=job.report, cancel=job.cancelled)
    return audit, clean


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service.

    Raises:
        ArgumentError: an argument is missing, or unknown.
    """
    from dataclasses import asdict

    from training.data.audit_report import as_json

    known = {"train", "val", "json", "report", "write", "workers"}
    check_arguments("audit-dataset", arguments, known=known, required=("train",))
    audit, clean = run(arguments, job)
    found = as_json(audit)
    found.pop("pairs")  # hundreds of thousands, of a large set; the JSON file has them
    return {**found, "written": [asdict(part) for part in clean]}


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error
