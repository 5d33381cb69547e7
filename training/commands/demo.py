"""``maskdino demo``: generate a town, find its buildings with the embedded model, and draw what was found."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import typer

from engine.commands.command_line import terminal_command
from engine.commands.terminal import CANCELLED, job_on_terminal, leave
from engine.errors import OutputError
from engine.request import Request, device_option, option

GSD = 0.3


class DemoRequest(Request):
    """Which town is generated, and where it goes."""

    command: ClassVar[str] = "demo"

    output: str = option("demo", "Folder for town.tif, buildings.gpkg and preview.png.", "-o", "--output", metavar="DIR")
    seed: int = option(7, "Another seed, another town.", ge=0)
    size: int = option(1024, "Side of the town in pixels of 0.3 m, 128 to 20000.", ge=128, le=20_000)
    device: str = device_option()


@terminal_command(DemoRequest)
def command(request: DemoRequest) -> None:
    """Generate a town, find its buildings with the embedded model, and draw what was found."""
    from engine.detection.layer_writer import check_output
    from engine.detection.pipeline import detect
    from training.commands.preview import agreement, draw_preview
    from training.data.synthetic.town import write_town

    output = Path(request.output)
    raster, truth, buildings, preview = (output / name for name in ("town.tif", "truth.gpkg", "buildings.gpkg", "preview.png"))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {output} cannot be made: {error.strerror}.", hint="Name another one.") from error
    check_output(buildings)
    write_town(raster, truth, seed=request.seed, size=request.size, gsd=GSD)
    with job_on_terminal() as job:
        summary = detect(raster, buildings, device=request.device, progress=job.report, cancel=job.cancelled)
    if summary.cancelled:
        leave(CANCELLED, f"cancelled; what was found so far is in {buildings}.")
    draw_preview(preview, raster=raster, buildings=buildings)
    found, true, right = agreement(buildings, truth)
    typer.echo(
        f"{found} buildings found, {true} are there; {right} pairs agree (IoU over 0.5): "
        f"precision {right / max(found, 1):.2f}, recall {right / max(true, 1):.2f}. "
        f"{summary.megapixels:.2f} MPix in {summary.seconds['total']:.1f} s on {summary.device}.\n"
        f"Look at {preview}, or open {raster} and {buildings} in QGIS."
    )
