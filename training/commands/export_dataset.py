"""``maskdino export-dataset``: a raster and its annotations become a data set to train on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.job import Job
from engine.request import Bands, Request, argument, option

if TYPE_CHECKING:
    from training.data.export.export import ExportSummary


class ExportRequest(Request):
    """What is cut into tiles, and how."""

    command: ClassVar[str] = "export-dataset"

    raster: str = argument("Anything that GDAL reads.", metavar="RASTER")
    annotations: str = argument("Footprints: polygons, in any format and CRS.", metavar="ANNOTATIONS")
    output: str = option(..., "A new folder.", "-o", "--output", metavar="DIR")
    aoi: str | None = option(
        None, "Polygons inside which the annotations are complete; nothing outside is used.", metavar="VECTOR"
    )
    tile_size: int = option(300, "Side of a tile in pixels.", ge=16, le=8192)
    stride: int | None = option(
        None, "Pixels from tile to tile; by default the tile size. Less makes training tiles overlap.", ge=1
    )
    gsd: float | None = option(
        None, "Metres per pixel of the tiles; by default the raster's own pixels.", metavar="METRES", ge=0.001
    )
    bands: Bands | None = option(
        None,
        "Bands for red, green and blue, counted from 1; by default by their colour interpretation, else the first ones.",
        metavar="1,2,3",
    )
    split: float | None = option(
        None,
        "Share of the ground for training, such as 0.8: writes train/ and val/, which share no ground.",
        gt=0,
        lt=1,
    )
    block: int | None = option(None, "Where the ground is split: tiles along the side of a block of ground.", ge=1)
    margin: int = option(32, "Where the ground is split: pixels of unused ground between blocks.", ge=0)
    seed: int = option(0, "Where the ground is split: another seed, other blocks for validation.", ge=0)
    min_area: float = option(4.0, "Leave out what a tile's border leaves of a building below this.", metavar="PX2", ge=0)
    image_format: Literal["png", "jpg"] = option("png", "Of the tiles: png (exact) or jpg (smaller).")


@terminal_command(ExportRequest)
def command(request: ExportRequest) -> None:
    """Cut a raster and its footprints into a data set in the MapChallenge layout."""
    with job_on_terminal() as job:
        summary = _run(request, job)
    for side, images in summary.images.items():
        place = Path(summary.output, side)
        typer.echo(f"{images} images with {summary.annotations[side]} footprints in {place}")
    if summary.empty_tiles or summary.unseen:
        typer.echo(f"Left out for want of data: {summary.empty_tiles} tiles, {summary.unseen} footprints")


@service_command(ExportRequest)
def serve(request: ExportRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the summary."""
    return asdict(_run(request, job))


def _run(request: ExportRequest, job: Job) -> ExportSummary:
    from training.data.export.export import export_dataset
    from training.data.export.plan import Layout

    layout = Layout(
        tile_size=request.tile_size,
        stride=request.stride,
        share=request.split,
        margin=request.margin,
        block=request.block,
        seed=request.seed,
    )
    return export_dataset(
        request.raster,
        request.annotations,
        request.output,
        aoi=request.aoi,
        bands=request.bands,
        gsd=request.gsd,
        layout=layout,
        min_area=request.min_area,
        image_format=request.image_format,
        progress=job.report,
        cancel=job.cancelled,
    )
