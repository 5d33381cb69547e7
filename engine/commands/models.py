"""``maskdino models``: which models there are, what a model file says of itself, and published checkpoints made into one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.errors import ModelFileError, UnsafeFileError
from engine.job import Job
from engine.model.checkpoints.catalogue import PUBLISHED, PublishedModel, find_published
from engine.model.config import BackboneComponent, BackboneConfig, FamilyConfig, TimmConfig
from engine.model.families.registry import family_of, recognised_family
from engine.model.header import ModelHeader
from engine.model.model_file import embedded_models, find_model_file, read_header
from engine.model.presets import PRESETS, preset_of
from engine.request import Names, Request, argument, option

log = logging.getLogger(__name__)

command = typer.Typer(name="models", help="List, describe and convert models.", no_args_is_help=True, rich_markup_mode=None)


class ModelsRequest(Request):
    """Which model is meant."""

    command: ClassVar[str] = "models"

    model: str | None = option(None, "An embedded model by name, or a model file; all that there are, if left out.")


class ListRequest(Request):
    """How the list is printed."""

    command: ClassVar[str] = "models list"

    as_json: bool = option(False, "Print JSON.", alias="json")


class InfoRequest(ListRequest):
    """Which model is described, and how that is printed."""

    command: ClassVar[str] = "models info"

    model: str = argument("A model file, an embedded model, a preset, or a published checkpoint.", metavar="MODEL")


class ConvertRequest(Request):
    """Which checkpoint becomes which model file, and what it does not say of itself."""

    command: ClassVar[str] = "models convert"

    published: str = argument("A published .pth, .pkl or .safetensors checkpoint.", metavar="PUBLISHED")
    output: str = option(..., "The model file to write, .safetensors.", "-o", "--output", metavar="FILE")
    preset: str | None = option(None, "Which preset it is; told by the tensors' shapes if left out.", metavar="PRESET")
    classes: Names | None = option(None, "Names of the classes, with commas between them.", metavar="NAME,NAME")
    num_classes: int | None = option(None, "How many classes, where they have no names; 1 or more.", ge=1)
    drop_classes: bool = option(False, "Leave the checkpoint's own classes out: its classifier must be trained again.")
    gsd: float | None = option(None, "Metres per pixel that it was trained at.", metavar="METRES")
    tile_size: int | None = option(None, "Side of the tiles to detect in, in pixels.", metavar="PIXELS")
    half: bool = option(False, "Store as float16: half the size, about three decimal digits.")


def models_document() -> dict[str, Any]:
    """List what there is: embedded models with their headers, presets, and published checkpoints."""
    return {
        "embedded": [{"path": str(path), **read_header(path).model_dump(mode="json")} for path in embedded_models().values()],
        "presets": {name: config.model_dump(mode="json") for name, config in PRESETS.items()},
        "published": [model.to_dict() for model in PUBLISHED],
    }


def model_document(model: str) -> dict[str, Any]:
    """Describe a model file, or an embedded model by its name.

    Raises:
        ModelFileError: there is none, or it is not a model file.
    """
    path = find_model_file(model)
    return {"path": str(path), "bytes": path.stat().st_size, **read_header(path).model_dump(mode="json")}


@service_command(ModelsRequest)
def serve(request: ModelsRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: what a model says of itself, or which models there are where none is named.

    Raises:
        ModelFileError: as ``model_document``.
    """
    return models_document() if request.model is None else model_document(request.model)


@service_command(ConvertRequest)
def serve_convert(request: ConvertRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: which model a checkpoint was taken for, and what the file of it holds.

    Raises:
        MaskDinoError: as ``engine.model.checkpoints.conversion.convert_published``.
    """
    from engine.model.checkpoints.conversion import convert_published

    options = request.model_dump(exclude={"published", "output"})
    conversion = convert_published(Path(request.published), Path(request.output), **options, progress=job.reporter("steps"))
    header = conversion.header
    what = f"preset {conversion.preset}" if conversion.preset else "a variant of no preset"
    return {
        "output": str(conversion.path),
        "bytes": conversion.path.stat().st_size,
        "preset": conversion.preset,
        "taken_for": f"{what} ({_architecture_text(header.config)}), {_classes_text(header.classes)}",
        "classes": list(header.classes),
        "gsd": header.gsd,
        "left_out": list(conversion.left_out),
    }


@command.command("list")
@terminal_command(ListRequest)
def list_models(request: ListRequest) -> None:
    """List embedded models, presets and published checkpoints."""
    if request.as_json:
        typer.echo(json.dumps(models_document(), indent=2))
        return
    typer.echo("Embedded, ready to use by name:")
    for path in embedded_models().values():
        typer.echo(f"  {_one_line(read_header(path), path)}")
    if not embedded_models():
        typer.echo("  none")
    typer.echo("\nPresets, to train or to convert a published checkpoint into:")
    for name, config in PRESETS.items():
        typer.echo(f"  {name}: {_preset_line(config)}")
    typer.echo("\nPublished by the models' makers (their figures, in per cent); get the file, then `maskdino models convert`:")
    for release, models in groupby(PUBLISHED, key=lambda model: f"{model.makers}: {model.release}  {model.licence}"):
        typer.echo(f"  {release}")
        for model in models:
            typer.echo("\n".join(_published_lines(model)))


@command.command("info")
@terminal_command(InfoRequest)
def info(request: InfoRequest) -> None:
    """Say what a model is, what it wants to see, and who trained it on what."""
    model, as_json = request.model, request.as_json
    path = Path(model)
    known = find_published(path.name)
    if model not in embedded_models() and not path.exists():
        if known is not None:
            lines = [*_published_lines(known), f"    {known.url}"]
            typer.echo(json.dumps(known.to_dict(), indent=2) if as_json else "\n".join(lines))
            return
        if model in PRESETS:
            config = PRESETS[model].model_dump(mode="json")
            typer.echo(json.dumps({"preset": model, "config": config}, indent=2) if as_json else _preset_text(model))
            return
    try:
        header = read_header(model)
    except ModelFileError as error:
        document = _checkpoint_document(find_model_file(model), error)
        typer.echo(json.dumps(document, indent=2) if as_json else "\n".join(_flat_lines(document)))
        return
    if as_json:
        typer.echo(json.dumps(model_document(model), indent=2))
    else:
        typer.echo("\n".join(_header_lines(header, find_model_file(model))))


@command.command("convert")
@terminal_command(ConvertRequest)
def convert(request: ConvertRequest) -> None:
    """Turn a published checkpoint into a model file, without running anything from it."""
    with job_on_terminal() as job:
        converted = serve_convert(request, job)
    typer.echo(f"{converted['output']}: {converted['taken_for']}, {converted['bytes'] / 1e6:.1f} MB.")
    if converted["left_out"]:
        typer.echo(f"Left out, for they belong to the checkpoint's own classes: {', '.join(converted['left_out'])}.")
        typer.echo("The classifier is untrained now: train it before detecting anything.")
    if converted["gsd"] is None:
        typer.echo("It names no ground sampling distance (--gsd): rasters will be taken at their own.")


def _checkpoint_document(path: Path, error: ModelFileError) -> dict[str, Any]:
    """Describe what is no model file, if it is a published checkpoint; raise the error of the model file otherwise."""
    from engine.model.checkpoints.reader import read_published

    if path.suffix == ".safetensors" and "without the header" not in error.message:
        raise error
    try:
        checkpoint = read_published(path)
    except UnsafeFileError:
        raise
    except ModelFileError:
        # Of a checkpoint by its name, what its own reader says is the better answer.
        if path.suffix in (".pth", ".pt", ".pkl"):
            raise
        raise error from None
    document: dict[str, Any] = {
        "path": str(path),
        "checkpoint": checkpoint.container,
        "tensors": len(checkpoint.tensors),
        "numbers": sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        "other_entries": list(checkpoint.other_entries),
    }
    try:
        config = recognised_family(checkpoint.tensors).published_config(checkpoint.tensors)
    except ModelFileError as reason:
        return document | {"model": f"none that can be built: {reason.message}"}
    return document | {
        "model": preset_of(config) or "a variant of no preset",
        "config": config.model_dump(mode="json"),
        "next": f"maskdino models convert {path.name} -o {path.stem}.safetensors",
    }


def _one_line(header: ModelHeader, path: Path) -> str:
    gsd = f"{header.gsd:g} m per pixel" if header.gsd else "any resolution"
    figures = f"; {_figures_text(header.training.figures)}" if header.training and header.training.figures else ""
    return f"{path.stem}: {_classes_text(header.classes)}, {gsd}, {path.stat().st_size / 1e6:.1f} MB{figures}"


def _classes_text(classes: tuple[str, ...]) -> str:
    if len(classes) > 3:
        return f"{len(classes)} classes ({', '.join(classes[:3])}, ...)"
    return ("class " if len(classes) == 1 else "classes ") + ", ".join(classes)


def _figures_text(figures: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {_figure_text(value)}" for name, value in figures.items())


def _figure_text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"


def _published_lines(model: PublishedModel) -> Iterator[str]:
    yield f"  {model.file}"
    note = f"; {model.note}" if model.note else ""
    yield f"    {model.task}, {model.data}, {model.backbone}: {_figures_text(model.figures)}{note}"
    yield f"    built like {model.preset}"


def _preset_line(config: FamilyConfig) -> str:
    return f"{_architecture_text(config)}, {config.num_classes} class{'es' if config.num_classes > 1 else ''}"


def _architecture_text(config: FamilyConfig) -> str:
    return f"{family_of(config).summary(config)}, {_backbone_text(config.backbone)} backbone"


def _backbone_text(backbone: BackboneConfig) -> str:
    if isinstance(backbone, BackboneComponent):
        return backbone.name
    return backbone.model if isinstance(backbone, TimmConfig) else backbone.kind


def _preset_text(name: str) -> str:
    made = "its weights come with this program" if name in embedded_models() else "no weights come with this program"
    return "\n".join([f"preset {name}: {made}", *_flat_lines(PRESETS[name].model_dump(mode="json"))])


def _header_lines(header: ModelHeader, path: Path) -> Iterator[str]:
    yield _one_line(header, path)
    yield from _flat_lines(_told({"path": str(path), **header.model_dump(mode="json", exclude={"format_version"})}))


def _told(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out what nothing is known of."""
    told = {key: _told(value) if isinstance(value, dict) else value for key, value in document.items()}
    return {key: value for key, value in told.items() if value not in (None, "", [], {})}


def _flat_lines(document: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    for key, value in document.items():
        label = key.replace("_", " ")
        if isinstance(value, dict):
            yield f"{indent}{label}:"
            yield from _flat_lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{label}: {', '.join(_item_text(item) for item in value) or 'none'}"
        else:
            yield f"{indent}{label}: {'unknown' if value is None else value}"


def _item_text(item: Any) -> str:
    if isinstance(item, dict):
        return " ".join(f"{value}" if key == "name" else f"({key} {value})" for key, value in item.items() if value)
    return str(item)
