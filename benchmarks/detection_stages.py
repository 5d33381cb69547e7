"""How fast a detection is, stage by stage, and how much of the time is not the model's.

    python benchmarks/detection_stages.py [RASTER] [--model NAME_OR_FILE] [--device DEVICE] [--batch-size N]

The stages work side by side, so their seconds add up to more than the wall time. Without a raster, the real image beside the
checkout is taken where there is one, else a generated town.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

import engine
from engine.device import share_the_cores

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "banepa" / "image.tif"
STAGES = ("reading", "model", "cropping", "checkpoint", "merging", "polygons", "writing")


def main(
    raster: Path | None = typer.Argument(None),
    model: str = "maskdino_lite",
    device: str = "auto",
    batch_size: int | None = None,
    score: float = 0.5,
) -> None:
    """Measure one detection after a short one that loads what is loaded once."""
    share_the_cores()
    with tempfile.TemporaryDirectory() as folder:
        raster = raster_or_default(raster, Path(folder))
        output = Path(folder, "buildings.gpkg")
        loaded = engine.load_model(model)
        arguments = {"model": loaded, "device": device, "batch_size": batch_size, "score": score}
        small = Path(folder, "small.tif")
        _corner(raster, small)
        engine.detect(small, output, **arguments)
        summary = engine.detect(raster, output, **arguments)
    from measuring import machine  # it imports torch, which has to be told how to share the cores before

    seconds = summary.seconds
    wall = seconds["total"] - seconds["loading"]
    print(
        f"{raster.name}: {summary.megapixels:.2f} MPix, {summary.tiles_seen} of {summary.tiles} tiles, "
        f"{summary.buildings} buildings"
    )
    print(f"{model} on {summary.device}, kernel {summary.kernel}; {machine()}")
    print(f"{'stage':<10}{'seconds':>10}{'MPix/s':>10}{'share of the wall time':>26}")
    for stage in STAGES:
        spent = seconds.get(stage, 0.0)
        rate = f"{summary.megapixels / spent:.2f}" if spent else "-"
        print(f"{stage:<10}{spent:>10.2f}{rate:>10}{spent / wall:>25.1%}")
    print(f"{'wall time':<10}{wall:>10.2f}{summary.megapixels / wall:>10.2f}")
    work = sum(seconds.get(stage, 0.0) for stage in STAGES)
    print(
        f"outside the model: {1 - seconds['model'] / wall:.1%} of the wall time, {1 - seconds['model'] / work:.1%} of all work"
    )


def _corner(raster: Path, target: Path) -> None:
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(raster) as dataset:
        window = Window(0, 0, min(600, dataset.width), min(600, dataset.height))
        profile = {**dataset.profile, "driver": "GTiff", "width": window.width, "height": window.height, "tiled": False}
        with rasterio.open(target, "w", **{key: profile[key] for key in ("driver", "width", "height", "count", "dtype", "crs")},
                           transform=dataset.transform) as corner:  # fmt: skip
            corner.write(dataset.read(window=window))


def raster_or_default(raster: Path | None, folder: Path) -> Path:
    """Return the raster that was asked for; else the real one where there is one, else a town generated in the folder."""
    if raster is not None or REAL.exists():
        return raster or REAL
    from training.data.synthetic.town import write_town

    write_town(folder / "town.tif", folder / "truth.gpkg", seed=1, size=3000)
    return folder / "town.tif"


if __name__ == "__main__":
    typer.run(main)
