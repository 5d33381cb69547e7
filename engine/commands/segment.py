"""``maskdino segment``: the arguments, for the terminal and for the service, and what a terminal shows meanwhile."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import check_arguments, option_types
from engine.commands.choices import OnDamage, Precision
from engine.commands.events import with_events
from engine.commands.terminal import ctrl_c_sets, progress_bar
from engine.job import Job

if TYPE_CHECKING:
    from engine.segmentation.pipeline import SegmentationSummary


def command(
    raster: str = typer.Argument(help="Anything that GDAL reads.", metavar="RASTER"),
    output: Path = typer.Option(..., "-o", "--output", help="Where the classes go: a .tif.", metavar="CLASSES.tif"),
    model: str | None = typer.Option(None, help="A model file for semantic or panoptic segmentation.", metavar="FILE"),
    aoi: str | None = typer.Option(None, help="Polygons, in any format and CRS: no data outside them.", metavar="VECTOR"),
    extent: tuple[float, float, float, float] | None = typer.Option(
        None, help="No data outside a rectangle, in the raster's CRS.", metavar="XMIN YMIN XMAX YMAX"
    ),
    bands: str | None = typer.Option(None, help="Bands for red, green and blue, counted from 1.", metavar="1,2,3"),
    gsd: float | None = typer.Option(
        None, help="Let the model see this ground sampling distance, in metres per pixel.", metavar="METRES"
    ),
    classes: str | None = typer.Option(
        None, help="Classes to keep, by name; pixels of the others have no data.", metavar="NAME,NAME"
    ),
    probabilities: str | None = typer.Option(
        None, help="Write the probability of this class in place of class numbers.", metavar="NAME"
    ),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:N or mps."),
    precision: Precision = typer.Option(
        Precision.auto, help="Of the model's products; auto takes what the device is fastest at."
    ),
    on_damage: OnDamage = typer.Option(
        OnDamage.fail, help="What a damaged block of the raster does: fail the run, or skip it as no data and name it."
    ),
    local_only: bool = typer.Option(
        False, "--local-only", help="Refuse a raster that reads from the network or from outside its own folder."
    ),
    batch_size: int | None = typer.Option(None, help="Tiles that the model sees at once."),
    workers: int | None = typer.Option(
        None, help="Threads that read, and that draw; by default one beside a CPU, up to eight beside a GPU."
    ),
    overlap: int | None = typer.Option(None, help="Pixels that neighbouring tiles share; by default a quarter of a tile."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a file that this program did not write, too."),
    resume: bool = typer.Option(False, "--resume", help="Go on where a killed or cancelled run ended."),
    json_lines: bool = typer.Option(False, "--json-lines", help="Print progress and result as JSON Lines."),
) -> None:
    """Give each pixel of a raster a class, and write a raster of class numbers with their names and colours."""
    if aoi is not None and extent is not None:
        raise typer.BadParameter("give --aoi or --extent, not both")
    if classes is not None and probabilities is not None:
        raise typer.BadParameter("give --classes or --probabilities, not both")
    arguments = {
        "raster": raster, "output": str(output), "model": model, "aoi": aoi, "extent": extent, "bands": bands, "gsd": gsd,
        "classes": classes, "probabilities": probabilities, "device": device, "precision": precision.value,
        "on_damage": on_damage.value, "local_only": local_only, "batch_size": batch_size, "workers": workers,
        "overlap": overlap, "overwrite": overwrite, "resume": resume,
    }  # fmt: skip
    if json_lines:
        with_events(lambda job: run(arguments, job))
    else:
        _on_terminal(arguments)


def _on_terminal(arguments: dict[str, Any]) -> None:
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            summary = run(arguments, job)
    covered = {name: cover for name, cover in summary.classes.items() if cover.pixels}
    for name, cover in sorted(covered.items(), key=lambda item: -item[1].pixels):
        area = "" if math.isnan(cover.area_m2) else f"  {cover.area_m2:,.0f} m2"
        typer.echo(f"{name}: {cover.pixels:,} pixels{area}")
    seconds = summary.seconds["total"]
    typer.echo(
        f"{len(covered)} classes in {summary.output}; "
        f"{seconds:.1f} s, {summary.megapixels / seconds:.2f} MPix/s on {summary.device}"
    )


def run(arguments: dict[str, Any], job: Job) -> SegmentationSummary:
    """Segment with the arguments of the command line, by name."""
    from engine.segmentation.pipeline import segment

    return segment(**arguments, progress=job.report, cancel=job.cancelled)


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    types = option_types(command, without=("json_lines",), bands=str | list[int] | None, classes=str | list[str] | None)
    check_arguments("segment", arguments, types=types, required=("raster", "output"))
    return asdict(run(arguments, job))
