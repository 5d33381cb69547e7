"""How fast a detection is on a GPU, end to end, and how much of the time the GPU waits for it.

    python benchmarks/detection_gpu.py [--model NAME_OR_FILE] [--size N] [--device DEVICE]

The raster is a generated town, a block of it mirrored until it has the size. The stages work side by side, so that their
seconds add up to more than the wall time. A part of the raster is detected once more under a profiler, which sees when no
kernel ran.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import typer

import engine
from engine.device import share_the_cores

_BLOCK = 2048  # pixels; larger towns take minutes
_GSD = 0.3
_WEST, _NORTH = 360_000, 3_057_000
_PROFILED = 3072  # pixels
_NEEDED = ("rasterio", "pyogrio", "pyproj", "shapely")


def main(model: str = "maskdino_lite", size: int = 8192, device: str = "cuda", score: float = 0.5) -> None:
    """Print the table."""
    share_the_cores()
    import torch
    from detection_stages import STAGES
    from kernels_gpu import profiled
    from measuring import machine, note

    if device == "cuda" and not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")
        return
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise SystemExit(f"A detection needs {', '.join(missing)}, not installed here: take along what make gpu-bundle packs.")
    with tempfile.TemporaryDirectory() as folder:
        raster, output = Path(folder, "town.tif"), Path(folder, "buildings.gpkg")
        write_raster(raster, size)
        arguments = {"model": engine.load_model(model, device=device), "device": device, "score": score}
        engine.detect(raster, output, extent=_corner(min(size, 1024)), **arguments)  # loads and compiles what is loaded once
        summary = engine.detect(raster, output, **arguments)
        part = _corner(min(size, _PROFILED))
        seen = profiled(lambda: engine.detect(raster, output, extent=part, **arguments), device)
    wall = summary.seconds["total"] - summary.seconds["loading"]
    print(f"{model}, {size} x {size} pixels on {summary.device}, kernel {summary.kernel}; {machine(device)}")
    print(
        f"{summary.tiles_seen} tiles, {summary.buildings} buildings in {wall:.2f} s: {summary.tiles_seen / wall:.0f} tiles/s, "
        f"{summary.megapixels / wall:.2f} MPix/s"
    )
    for stage in STAGES:
        spent = summary.seconds.get(stage, 0.0)
        print(f"{stage:<10}{spent:>10.2f} s{spent / wall:>8.0%} of the wall time")
    waited = "not measured on a CPU" if seen.waited is None else f"{seen.waited:.0%} of the time, under a profiler"
    print(f"the GPU waited: {waited}")
    note(
        model=model, size=size, tiles=summary.tiles_seen, buildings=summary.buildings, seconds=wall,
        tiles_per_second=summary.tiles_seen / wall, megapixels_per_second=summary.megapixels / wall,
        stages=summary.seconds, waited=seen.waited,
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


def _corner(size: int) -> tuple[float, float, float, float]:
    """The extent of the upper left corner of the raster."""
    return _WEST, _NORTH - size * _GSD, _WEST + size * _GSD, _NORTH


if __name__ == "__main__":
    typer.run(main)
