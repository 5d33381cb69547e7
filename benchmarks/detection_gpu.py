"""How fast a detection is on a GPU, end to end, and how much of the time the GPU waits for it.

    python benchmarks/detection_gpu.py [--model NAME_OR_FILE] [--size N] [--device DEVICE]

The raster is a generated town, a block of it mirrored until it has the size. A smaller one is detected first, and once more
under a profiler, which sees when no kernel ran. Each figure is printed as soon as it is known, and in the large town the tiles
done every few seconds, so that a run cut short has something to show. The stages work side by side, so that their seconds add
up to more than the wall time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

import engine
from engine.device import share_the_cores

if TYPE_CHECKING:
    from engine.job import Progress

_BLOCK = 1024  # pixels; larger towns take longer to draw than to detect
_GSD = 0.3
_WEST, _NORTH = 360_000, 3_057_000
_WARM_UP, _SMALL = 1024, 2048  # pixels
_REPORT_EVERY = 5  # seconds
_NEEDED = ("rasterio", "pyogrio", "pyproj", "shapely")


def main(model: str = "maskdino_lite", size: int = 8192, device: str = "cuda", score: float = 0.5) -> None:
    """Print the tables."""
    share_the_cores()
    import torch
    from kernels_gpu import profiled
    from measuring import machine, note

    if device == "cuda" and not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")
        return
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise SystemExit(f"A detection needs {', '.join(missing)}, not installed here: take along what make gpu-bundle packs.")
    print(f"{model}; {machine(device)}", flush=True)
    clock = _Clock()
    arguments = {"model": engine.load_model(model, device=device), "device": device, "score": score}
    with tempfile.TemporaryDirectory() as folder:
        raster, output = Path(folder, "town.tif"), Path(folder, "buildings.gpkg")
        write_raster(raster, min(size, _WARM_UP))
        engine.detect(raster, output, **arguments)
        clock.report("what is loaded and compiled once is")

        small = min(size, _SMALL)
        write_raster(raster, small)
        _measure(raster, output, small, **arguments)
        seen = profiled(lambda: engine.detect(raster, output, **arguments), device)
        waited = "not measured on a CPU" if seen.waited is None else f"{seen.waited:.0%} of the time, under a profiler"
        print(f"the GPU waited: {waited}", flush=True)
        note(size=small, waited=seen.waited)

        if small < size:
            write_raster(raster, size)
            clock.report(f"{size} x {size} pixels are written")
            _measure(raster, output, size, progress=clock.progress, **arguments)


class _Clock:
    """Print what is done by now, and after how many seconds."""

    def __init__(self) -> None:
        self._start = self._reported = time.perf_counter()

    def report(self, what: str) -> None:
        self._reported = time.perf_counter()
        print(f"{self._reported - self._start:>6.1f} s: {what}", flush=True)

    def progress(self, progress: Progress) -> None:
        if time.perf_counter() - self._reported >= _REPORT_EVERY:
            self.report(f"{progress.done} of {progress.total} tiles, {progress.buildings} buildings")


def _measure(raster: Path, output: Path, size: int, *, progress: Callable | None = None, model: Any, **arguments: Any) -> None:
    """Detect the town of this size and print how long which stage took."""
    from detection_stages import STAGES
    from measuring import note

    summary = engine.detect(raster, output, progress=progress, model=model, **arguments)
    wall = summary.seconds["total"] - summary.seconds["loading"]
    print(
        f"{size} x {size} pixels on {summary.device}, kernel {summary.kernel}: {summary.tiles_seen} tiles, {summary.buildings} "
        f"buildings in {wall:.2f} s: {summary.tiles_seen / wall:.0f} tiles/s, {summary.megapixels / wall:.2f} MPix/s"
    )
    for stage in STAGES:
        spent = summary.seconds.get(stage, 0.0)
        print(f"{stage:<10}{spent:>10.2f} s{spent / wall:>8.0%} of the wall time", flush=True)
    note(
        size=size, tiles=summary.tiles_seen, buildings=summary.buildings, seconds=wall, stages=summary.seconds,
        tiles_per_second=summary.tiles_seen / wall, megapixels_per_second=summary.megapixels / wall,
    )  # fmt: skip


def write_raster(path: Path, size: int) -> None:
    """Write a town of that many pixels a side, in metres of UTM zone 45."""
    import rasterio
    from rasterio.transform import from_origin

    from training.data.synthetic.town import SyntheticTown

    block = SyntheticTown(1, min(size, _BLOCK), _GSD).image.transpose(2, 0, 1)  # (3, H, W)
    repeats = -(-size // (2 * block.shape[1]))
    wide = np.concatenate([block, block[:, :, ::-1]], axis=2)
    mirrored = np.concatenate([wide, wide[:, ::-1]], axis=1)
    image = np.tile(mirrored, (1, repeats, repeats))[:, :size, :size]
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    layout = {"tiled": True, "compress": "deflate", "predictor": 2, "photometric": "rgb", "num_threads": "all_cpus"}
    with rasterio.open(path, "w", **profile, **layout, transform=from_origin(_WEST, _NORTH, _GSD, _GSD)) as target:
        target.write(image)


if __name__ == "__main__":
    typer.run(main)
