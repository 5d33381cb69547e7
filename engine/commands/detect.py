"""``maskdino detect``: the arguments, for the terminal and for the service, and what a terminal shows meanwhile."""

from __future__ import annotations

import math
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import check_arguments, option_types
from engine.commands.choices import OnDamage, Precision
from engine.commands.events import with_events
from engine.commands.terminal import CANCELLED, ctrl_c_sets, leave, progress_bar
from engine.job import Job

if TYPE_CHECKING:
    from engine.detection.pipeline import Summary


class Outline(str, Enum):
    """How the outline of a mask is drawn."""

    regular = "regular"
    simplified = "simplified"
    raw = "raw"


def command(
    raster: str = typer.Argument(help="Anything that GDAL reads.", metavar="RASTER"),
    output: Path = typer.Option(..., "-o", "--output", help="Where they go: .gpkg, .geojson, .fgb or .parquet."),
    model: str = typer.Option("maskdino_lite", help="An embedded model by name, or a model file."),
    aoi: str | None = typer.Option(None, help="Polygons, in any format and CRS: detect inside them alone.", metavar="VECTOR"),
    extent: tuple[float, float, float, float] | None = typer.Option(
        None, help="Detect inside a rectangle alone, in the raster's CRS.", metavar="XMIN YMIN XMAX YMAX"
    ),
    bands: str | None = typer.Option(None, help="Bands for red, green and blue, counted from 1.", metavar="1,2,3"),
    gsd: float | None = typer.Option(
        None, help="Detect at this ground sampling distance, in metres per pixel.", metavar="METRES"
    ),
    score: float = typer.Option(0.5, help="Keep what the model is at least this sure of, 0 to 1."),
    classes: str | None = typer.Option(
        None, help="Classes of the model to find, by name; all if left out.", metavar="NAME,NAME"
    ),
    min_area: float | None = typer.Option(
        None,
        help="Leave out what is smaller than this; by default 12 pixels, and of buildings 4 m2 if that is more.",
        metavar="M2",
    ),
    outline: Outline = typer.Option(Outline.regular, help="Right angles, smooth, or the borders of the pixels."),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:N or mps."),
    precision: Precision = typer.Option(
        Precision.auto, help="Of the model's products; auto takes what the device is fastest at."
    ),
    deterministic: bool = typer.Option(
        False, "--deterministic", help="The same bits whatever the number of threads, workers and tiles at once; slower."
    ),
    compile: bool = typer.Option(
        False, "--compile", help="Compile the model first, with torch.compile: takes a minute, and on a CPU a C++ compiler."
    ),
    on_damage: OnDamage = typer.Option(
        OnDamage.fail, help="What a damaged block of the raster does: fail the run, or skip it as no data and name it."
    ),
    local_only: bool = typer.Option(
        False, "--local-only", help="Refuse a raster that reads from the network or from outside its own folder."
    ),
    batch_size: int | None = typer.Option(None, help="Tiles that the model sees at once."),
    workers: int | None = typer.Option(
        None, help="Threads that read, and that draw outlines; by default one beside a CPU, up to eight beside a GPU."
    ),
    overlap: int | None = typer.Option(None, help="Pixels that neighbouring tiles share; by default a quarter of a tile."),
    layer: str | None = typer.Option(
        None, help="Add the buildings to an existing GeoPackage, as a layer of this name.", metavar="NAME"
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a GeoPackage that holds other layers too."),
    resume: bool = typer.Option(False, "--resume", help="Go on where a killed or cancelled run ended."),
    json_lines: bool = typer.Option(False, "--json-lines", help="Print progress and result as JSON Lines."),
) -> None:
    """Find the buildings of a raster, or the objects of a model's classes, and write them as polygons."""
    if layer is not None and overwrite:
        raise typer.BadParameter("give --layer, which keeps what is there, or --overwrite, not both")
    if aoi is not None and extent is not None:
        raise typer.BadParameter("give --aoi or --extent, not both")
    arguments = {
        "raster": raster, "output": str(output), "model": model, "aoi": aoi, "extent": extent, "bands": bands, "gsd": gsd,
        "score": score, "classes": classes, "min_area": min_area, "outline": outline.value, "device": device,
        "precision": precision.value,
        "deterministic": deterministic, "compile": compile,
        "on_damage": on_damage.value, "local_only": local_only, "batch_size": batch_size,
        "workers": workers, "overlap": overlap, "layer": layer, "overwrite": overwrite, "resume": resume,
    }  # fmt: skip
    if json_lines:
        summary = with_events(lambda job: run(arguments, job))
        if summary.cancelled:
            leave(CANCELLED, f"cancelled; --resume goes on with {summary.output}.")
    else:
        _on_terminal(arguments)


def _on_terminal(arguments: dict[str, Any]) -> None:
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            summary = run(arguments, job)
    if summary.cancelled:
        leave(CANCELLED, f"cancelled; the {_found(summary)} found so far are in {summary.output}. --resume goes on.")
    area = "" if math.isnan(summary.area_m2) else f" ({summary.area_m2:,.0f} m2)"
    seconds = summary.seconds["total"]
    typer.echo(
        f"{_found(summary)}{area} in {summary.output}; "
        f"{seconds:.1f} s, {summary.megapixels / seconds:.2f} MPix/s on {summary.device}"
    )


def _found(summary: Summary) -> str:
    """Return how many objects were found, by class where they are not buildings: ``3 objects (2 car, 1 truck)``."""
    from engine.detection.classes import finds_buildings_alone

    if finds_buildings_alone(tuple(summary.by_class)):
        return f"{summary.buildings} buildings"
    by_class = ", ".join(f"{count} {name}" for name, count in summary.by_class.items() if count)
    return f"{summary.buildings} objects{f' ({by_class})' if by_class else ''}"


def run(arguments: dict[str, Any], job: Job) -> Summary:
    """Detect with the arguments of the command line, by name."""
    from engine.detection.pipeline import detect

    return detect(**arguments, progress=job.report, cancel=job.cancelled)


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    types = option_types(command, without=("json_lines",), bands=str | list[int] | None, classes=str | list[str] | None)
    check_arguments("detect", arguments, types=types, required=("raster", "output"))
    return asdict(run(arguments, job))
