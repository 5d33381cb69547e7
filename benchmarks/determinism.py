"""What threads, batch size, workers and precision change in the layer that a detection writes, and what a second run changes.

    python benchmarks/determinism.py [--model NAME_OR_FILE] [--data FOLDER] [--size METRES]

Each run is compared with the first one of its precision: one thread, tiles one by one, one worker. Banepa is left out where
the real imagery, which is not part of the project, is missing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import geopandas
import numpy as np
import torch
import typer
from held_out import DATA
from layer_agreement import best_overlaps
from measuring import machine
from precision import PRECISIONS, middle_of

import engine
from engine.model.instance_model import InstanceModel
from training.data.synthetic.town import write_town

# Threads of the model, tiles per call of it, workers beside it.
FIRST = (1, 1, 1)
RUNS = {"again": (1, 1, 1), "2 workers": (1, 1, 2), "2 threads": (2, 1, 1), "batches of 4": (1, 4, 1), "both": (2, 4, 1)}

Layer = geopandas.GeoDataFrame


def main(model: str = "maskdino_lite", data: Path = DATA, size: float = 300.0) -> None:
    """Print a row per run, for the town of ``maskdino demo`` and a square of ``size`` metres in the middle of Banepa."""
    loaded = engine.load_model(model)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        town, banepa = Path(folder, "town.tif"), data / "banepa" / "image.tif"
        write_town(town, Path(folder, "truth.gpkg"), seed=7, size=1024, gsd=0.3)
        for precision in PRECISIONS:
            _compare_runs("town", town, loaded, precision=precision)
            if banepa.is_file():
                _compare_runs("Banepa", banepa, loaded, precision=precision, extent=middle_of(banepa, size))


def _compare_runs(place: str, raster: Path, model: InstanceModel, **settings: object) -> None:
    first = _detect(raster, model, FIRST, **settings)
    for name, run in RUNS.items():
        print(f"{place:<7} {settings['precision']:<9} {name:<13} {_difference(first, _detect(raster, model, run, **settings))}")


def _detect(raster: Path, model: InstanceModel, run: tuple[int, int, int], **settings: object) -> Layer:
    threads, batch_size, workers = run
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "buildings.gpkg")
        engine.detect(raster, output, model=model, batch_size=batch_size, workers=workers, **settings)
        return geopandas.read_file(output)


def _difference(first: Layer, second: Layer) -> str:
    one, two = (dict(zip(layer.geometry.to_wkb(), layer["score"], strict=True)) for layer in (first, second))
    if one == two:
        return f"{len(first)} polygons, all the same, bit by bit"
    same = one.keys() & two.keys()
    overlaps = best_overlaps(first.geometry.to_numpy(), second.geometry.to_numpy())
    scores = max((abs(one[outline] - two[outline]) for outline in same), default=0.0)
    return (
        f"{len(first)} and {len(second)} polygons, {len(same)} outlines the same, bit by bit, scores within {scores:.0e}; "
        f"IoU at least {overlaps.min():.3f}, below 0.9: {np.sum(overlaps < 0.9)}, below 0.5: {np.sum(overlaps < 0.5)}"
    )


if __name__ == "__main__":
    typer.run(main)
