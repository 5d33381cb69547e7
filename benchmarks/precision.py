"""How far bfloat16 leads from float32: average precision, and the polygons that a detection writes.

    python benchmarks/precision.py [--model NAME_OR_FILE] [--data FOLDER] [--size METRES]

Needs the real imagery, which is not part of the project.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import typer
from held_out import DATA, FIRST_PLACES, held_out_samples, read_ground
from layer_agreement import best_overlaps

import engine
from engine.model.inference import InferenceModel
from training.evaluation.coco.mask_scores import score_model

PRECISIONS = ("float32", "bfloat16")


def main(model: str = "maskdino_lite", data: Path = DATA, size: float = 500.0, score: float = 0.5) -> None:
    """Print both measures; polygons are those of a square of ``size`` metres in the middle of Banepa."""
    ground = read_ground("embedded", data)
    loaded = engine.load_model(model)
    places = held_out_samples(ground)
    samples = [places[number] for name in FIRST_PLACES for number in places.ranges[name]]
    for precision in PRECISIONS:
        found = score_model(InferenceModel(loaded, precision=precision), samples, threshold=score)
        print(
            f"{precision:<9} {found.images} crops, {found.buildings} buildings: AP {found.ap:.4f}, AP50 {found.ap50:.4f}, "
            f"precision {found.precision:.4f}, recall {found.recall:.4f}"
        )
    image = data / "banepa" / "image.tif"
    with tempfile.TemporaryDirectory() as folder:
        layers = []
        for precision in PRECISIONS:
            output = Path(folder, f"{precision}.gpkg")
            engine.detect(image, output, model=loaded, precision=precision, score=score, extent=middle_of(image, size))
            layers.append(geopandas.read_file(output).geometry.to_numpy())
    _compare(*layers)


def middle_of(image: Path, size: float) -> tuple[float, float, float, float]:
    """Return the extent of a square of ``size`` metres in the middle of a raster."""
    with rasterio.open(image) as dataset:
        bounds, metres = dataset.bounds, 1.0 if dataset.crs.is_projected else 1 / 111_320  # degrees at the equator
    x, y, half = (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2, size / 2 * metres
    return x - half, y - half, x + half, y + half


def _compare(first: np.ndarray, second: np.ndarray) -> None:
    best = best_overlaps(first, second)
    same = best[best > 0.5]
    print(
        f"polygons: {len(first)} in float32, {len(second)} in bfloat16; {len(same)} agree at IoU 0.5; "
        f"their IoU: median {np.median(same):.3f}, 5th percentile {np.percentile(same, 5):.3f}"
    )


if __name__ == "__main__":
    typer.run(main)
