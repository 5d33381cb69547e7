"""``maskdino demo``: generate a town, find its buildings with the embedded model, and draw what was found."""

from __future__ import annotations

from pathlib import Path

import typer

from engine.commands.terminal import CANCELLED, ctrl_c_sets, leave, progress_bar
from engine.errors import OutputError
from engine.job import Job

GSD = 0.3


def command(
    output: Path = typer.Option(Path("demo"), "-o", "--output", help="Folder for town.tif, buildings.gpkg and preview.png."),
    seed: int = typer.Option(7, min=0, help="Another seed, another town."),
    size: int = typer.Option(1024, min=128, max=20_000, help="Side of the town in pixels of 0.3 m."),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:N or mps."),
) -> None:
    """Generate a town, find its buildings with the embedded model, and draw what was found."""
    from engine.detection.layer_writer import check_output
    from engine.detection.pipeline import detect
    from training.commands.preview import agreement, draw_preview
    from training.data.synthetic.town import write_town

    raster, truth, buildings, preview = (output / name for name in ("town.tif", "truth.gpkg", "buildings.gpkg", "preview.png"))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {output} cannot be made: {error.strerror}.", hint="Name another one.") from error
    check_output(buildings)
    write_town(raster, truth, seed=seed, size=size, gsd=GSD)
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            summary = detect(raster, buildings, device=device, progress=job.report, cancel=job.cancelled)
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
