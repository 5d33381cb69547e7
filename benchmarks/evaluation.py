"""How long it takes, and how much memory, to compare a layer of detections with a layer of annotations.

    python benchmarks/evaluation.py [--buildings 100000]

The town is made up: buildings of 4 to 12 corners in dense rows, each detected a little off, with false positives and misses.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyogrio
import shapely
import typer

SPACING = 14.0  # metres: neighbours overlap now and then
CORNER = np.array([360_000.0, 3_050_000.0])  # in EPSG:32645


def main(buildings: int = 100_000) -> None:
    """Print what `maskdino evaluate` takes with all its outputs, started as a program."""
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder, name) for name in ("found.gpkg", "there.gpkg", "matches.gpkg", "report.html", "figures.json")]
        found, there, matches, report, figures = names
        outlines = town(buildings, np.random.default_rng(0))
        _write(there, outlines[: int(0.9 * buildings)], None)
        rng = np.random.default_rng(1)
        _write(found, redrawn(outlines, rng)[int(0.1 * buildings) :], rng.random(buildings - int(0.1 * buildings)))
        arguments = ["evaluate", found, there, "-o", matches, "--report", report, "--json", figures]
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "engine", *map(str, arguments)], check=True, capture_output=True, text=True
        )
        seconds = time.monotonic() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout.strip())
    print(
        f"{len(outlines):,} buildings: {seconds:.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of processor time), "
        f"{usage.ru_maxrss / 2**20:.2f} GiB at most; {platform.machine()}, {os.cpu_count()} cores"
    )


def town(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return rectangles, L and U shapes in rows that are turned a little."""
    shapes = (
        [(0, 0), (11, 0), (11, 8), (0, 8)],
        [(0, 0), (12, 0), (12, 5), (6, 5), (6, 10), (0, 10)],
        [(0, 0), (13, 0), (13, 11), (9, 11), (9, 4), (4, 4), (4, 11), (0, 11)],
    )
    side = int(np.ceil(count**0.5))
    place = np.stack([np.arange(count) % side, np.arange(count) // side], axis=1) * SPACING + CORNER
    kind, angle, size = rng.integers(0, len(shapes), count), rng.normal(0, 0.2, count), rng.uniform(0.6, 1.1, count)
    outlines = np.empty(count, dtype=object)
    for number, corners in enumerate(shapes):
        rows = np.flatnonzero(kind == number)
        points = np.array(corners, dtype=float)[None] * size[rows, None, None]
        cos, sin = np.cos(angle[rows])[:, None], np.sin(angle[rows])[:, None]
        turned = np.stack([points[..., 0] * cos - points[..., 1] * sin, points[..., 0] * sin + points[..., 1] * cos], axis=-1)
        outlines[rows] = shapely.polygons(turned + place[rows, None])
    return outlines


def redrawn(outlines: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the outlines moved, each corner and all of them together."""
    points, owner = shapely.get_coordinates(outlines, return_index=True)
    moves = rng.normal(0, 0.7, (len(outlines), 2))[owner] + rng.normal(0, 0.1, points.shape)
    closing = np.append(np.diff(owner) != 0, True)
    opening = np.append(True, np.diff(owner) != 0)
    moves[closing] = moves[opening]
    moved = shapely.set_coordinates(outlines.copy(), points + moves)
    return np.where(shapely.is_valid(moved), moved, outlines)


def _write(path: Path, outlines: np.ndarray, scores: np.ndarray | None) -> None:
    fields = [] if scores is None else [scores]
    names = np.array([] if scores is None else ["score"], dtype=object)
    pyogrio.raw.write(
        path, shapely.to_wkb(outlines), fields, names, layer=path.stem, driver="GPKG", geometry_type="Polygon", crs="EPSG:32645"
    )


if __name__ == "__main__":
    typer.run(main)
