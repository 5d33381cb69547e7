"""``maskdino export-dataset``: a raster and its annotations become a data set to train on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.commands import check_arguments, option_types
from engine.commands.terminal import ctrl_c_sets, progress_bar
from engine.errors import ArgumentError
from engine.job import Job

if TYPE_CHECKING:
    from training.data.export.export import ExportSummary


def command(
    raster: str = typer.Argument(help="Anything that GDAL reads.", metavar="RASTER"),
    annotations: str = typer.Argument(help="Footprints: polygons, in any format and CRS.", metavar="ANNOTATIONS"),
    output: Path = typer.Option(..., "-o", "--output", help="A new folder.", metavar="DIR"),
    aoi: str | None = typer.Option(
        None, help="Polygons inside which the annotations are complete; nothing outside is used.", metavar="VECTOR"
    ),
    tile_size: int = typer.Option(300, help="Side of a tile in pixels."),
    stride: int | None = typer.Option(None, help="Pixels from tile to tile; by default the tile size, without overlap."),
    gsd: float | None = typer.Option(None, help="Metres per pixel of the tiles; by default the raster's.", metavar="METRES"),
    bands: str | None = typer.Option(None, help="Bands for red, green and blue, counted from 1.", metavar="1,2,3"),
    split: float | None = typer.Option(
        None, help="Share of the ground for training, such as 0.8: writes train/ and val/, which share no ground."
    ),
    block: int | None = typer.Option(None, help="With --split: tiles along the side of a block of ground."),
    margin: int = typer.Option(32, help="With --split: pixels of unused ground between blocks."),
    seed: int = typer.Option(0, help="With --split: another seed, other blocks for validation."),
    min_area: float = typer.Option(4.0, help="Leave out what a tile's border leaves of a building below this.", metavar="PX2"),
    image_format: str = typer.Option("png", help="png (exact) or jpg (smaller)."),
) -> None:
    """Cut a raster and its footprints into a data set in the MapChallenge layout."""
    arguments = {
        "raster": raster, "annotations": annotations, "output": str(output), "aoi": aoi, "tile_size": tile_size,
        "stride": stride, "gsd": gsd, "bands": bands, "split": split, "block": block, "margin": margin, "seed": seed,
        "min_area": min_area, "image_format": image_format,
    }  # fmt: skip
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            summary = run(arguments, job)
    for side, images in summary.images.items():
        place = Path(summary.output, side)
        typer.echo(f"{images} images with {summary.annotations[side]} footprints in {place}")
    if summary.empty_tiles or summary.unseen:
        typer.echo(f"Left out for want of data: {summary.empty_tiles} tiles, {summary.unseen} footprints")


def run(arguments: dict[str, Any], job: Job) -> ExportSummary:
    """Export with the arguments of the command line, by name."""
    from training.data.export.export import export_dataset
    from training.data.export.plan import Layout

    rest = dict(arguments)
    laid = {name: rest.pop(name) for name in ("tile_size", "stride", "block", "margin", "seed") if name in rest}
    layout = Layout(**laid, share=rest.pop("split", None))
    rest["bands"] = _bands(rest.get("bands"))
    return export_dataset(**rest, layout=layout, progress=job.report, cancel=job.cancelled)


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    types = option_types(command, bands=str | list[int] | None)
    check_arguments("export-dataset", arguments, types=types, required=("raster", "annotations", "output"))
    return asdict(run(arguments, job))


def _bands(given: str | list[int] | None) -> list[int] | None:
    if given is None or isinstance(given, (list, tuple)):
        return given
    try:
        return [int(number) for number in given.split(",")]
    except ValueError:
        raise ArgumentError(f"bands is {given!r}.", hint="Give numbers with commas between them, such as 1,2,3.") from None
