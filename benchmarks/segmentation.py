"""What a segmentation costs beside its model: memory by classes and raster size, and seconds of each stage.

    python benchmarks/segmentation.py [--tile-size N]

In place of a model there is a predictor that gives the same scores of every tile at once. Each case is a process of its own, so
that its peak of resident memory is its own; that of a process that has everything imported and does nothing is taken off.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import typer
from rasterio.transform import from_origin
from rasterio.windows import Window

import engine

CASES = [(4000, 2000, 19), (4000, 8000, 19), (16000, 2000, 19), (4000, 2000, 150), (4000, 8000, 150), (16000, 2000, 150)]
STAGES = ("reading", "blending", "drawing", "writing", "overviews")


class NoModel:
    """Give scores that mean nothing and cost nothing."""

    bands, gsd = 3, None

    def __init__(self, tile_size: int, classes: int) -> None:
        self.tile_size = tile_size
        self.classes = tuple(f"class {number}" for number in range(classes))
        self._scores = np.random.default_rng(0).random((classes, tile_size, tile_size), np.float32)

    def scores(self, tiles: np.ndarray) -> list[np.ndarray]:
        return [self._scores] * len(tiles)


def main(
    tile_size: int = 512,
    case: tuple[int, int, int] = typer.Option((0, 0, 0), hidden=True),
    probabilities: bool = typer.Option(False, hidden=True),
) -> None:
    """Measure each case, or one of them in this process."""
    if case[2]:
        _measure(*case, tile_size=tile_size, probabilities=probabilities)
        return
    idle = float(_run(tile_size, (64, 64, 1)).split()[0])
    print(f"tiles of {tile_size} pixels, overlap {tile_size // 4}; a process that has everything imported takes {idle:.0f} MB")
    print(f"{'raster':<16}{'classes':>8}{'output':>14}{'strip MB':>10}{'peak MB':>9}{'MPix/s':>8}   seconds by stage")
    for width, height, classes in CASES:
        for is_probability in (False, True) if (width, height) == (4000, 8000) else (False,):
            peak, *rest = _run(tile_size, (width, height, classes), probabilities=is_probability).split(maxsplit=2)
            planes = 2 if is_probability else classes
            strip = 4 * planes * width * tile_size // 4 / 1e6
            what = "probability" if is_probability else "classes"
            print(
                f"{width} x {height:<8}{classes:>8}{what:>14}{strip:>10.0f}{float(peak) - idle:>9.0f}{rest[0]:>8}   {rest[1]}"
            )


def _run(tile_size: int, case: tuple[int, int, int], *, probabilities: bool = False) -> str:
    options = ["--tile-size", str(tile_size), "--case", *map(str, case), *(["--probabilities"] if probabilities else [])]
    done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _measure(width: int, height: int, classes: int, *, tile_size: int, probabilities: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raster, output = Path(folder, "ramp.tif"), Path(folder, "classes.tif")
        _write_ramp(raster, width, height)
        predictor = NoModel(tile_size, classes)
        summary = engine.segment(raster, output, predictor=predictor, probabilities="class 0" if probabilities else None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    stages = ", ".join(f"{name} {summary.seconds.get(name, 0):.1f}" for name in STAGES)
    print(f"{peak:.0f} {summary.megapixels / summary.seconds['total']:.1f} {stages}")


def _write_ramp(path: Path, width: int, height: int) -> None:
    row = np.broadcast_to(np.arange(width) % 256, (3, 256, width)).astype(np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", crs="EPSG:32633", tiled=True,
        compress="deflate", photometric="RGB", transform=from_origin(500_000, 5_000_000, 0.3, 0.3),
    ) as raster:  # fmt: skip
        for top in range(0, height, 256):
            rows = min(256, height - top)
            raster.write(row[:, :rows], window=Window(0, top, width, rows))


if __name__ == "__main__":
    typer.run(main)
