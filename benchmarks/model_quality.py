"""How good the embedded model is on real ground that it never saw, and next to it on the ground that it did see.

    python benchmarks/model_quality.py [--model NAME_OR_FILE] [--data FOLDER]

Two measures: masks on crops (COCO's average precision), and the layer that `maskdino detect` writes for the whole image of
Banepa against the annotated footprints. Needs the real imagery, which is not part of the project.
"""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

import geopandas
import numpy as np
import shapely
import torch
import typer

import engine
from training.data.scene import SceneWindows
from training.data.tiny_model_data import read_ground, split_banepa
from training.evaluation.mask_scores import score_model

CROP, GSD = 256, 0.3  # pixels, and metres a pixel: what the embedded model is trained on and measured with
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main(model: str = "maskdino_tiny", data: Path = DATA, score: float = 0.5) -> None:
    """Print both measures."""
    if not data.is_dir():
        raise typer.BadParameter(f"{data} is not there: the real imagery does not come with the project")
    print(f"{model} on {platform.machine()}, torch {torch.__version__}")
    loaded = engine.load_model(model)
    training, validation = read_ground(data)
    for name, ground in (("unseen ground", validation), ("training ground", training)):
        found = score_model(loaded, SceneWindows(ground.scenes, size=CROP, gsd=GSD, smallest=12), threshold=score)
        rests_on = f"{found.images} crops of {CROP} pixels, {found.buildings} buildings"
        at_score = f"precision {found.precision:.3f}, recall {found.recall:.3f}, F1 {found.f1:.3f}"
        print(f"{name}, {rests_on}: AP50 {found.ap50:.3f}, AP {found.ap:.3f}; at score {score:g}: {at_score}")
    image, annotated = data / "banepa" / "image.tif", geopandas.read_file(data / "banepa" / "buildings.gpkg")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "buildings.gpkg")
        summary = engine.detect(image, output, model=loaded, score=score)
        detected = geopandas.read_file(output)
    split = split_banepa(data / "banepa")
    print(f"detect on {image.name}: {summary.megapixels:.1f} MPix in {summary.seconds['total']:.0f} s on {summary.device}")
    for name, area in (("unseen part", split.validation), ("training part", split.training)):
        inside = [_within(layer.to_crs(split.crs), area) for layer in (detected, annotated)]
        right = _right(*inside)
        precision, recall = right / max(len(inside[0]), 1), right / max(len(inside[1]), 1)
        print(
            f"{name} of the labelled area: {len(inside[0])} detected, {len(inside[1])} annotated, {right} agree at IoU 0.5: "
            f"precision {precision:.3f}, recall {recall:.3f}, F1 {2 * precision * recall / max(precision + recall, 1e-9):.3f}"
        )


def _within(layer: geopandas.GeoDataFrame, area: shapely.Geometry) -> np.ndarray:
    """Footprints of which more than half lies in the area."""
    shapes = shapely.make_valid(layer.geometry.to_numpy())
    return shapes[shapely.area(shapely.intersection(shapes, area)) > 0.5 * shapely.area(shapes)]


def _right(detected: np.ndarray, annotated: np.ndarray) -> int:
    """Pairs with an IoU above a half; above a half no footprint agrees with two others."""
    if not len(detected) or not len(annotated):
        return 0
    first, second = shapely.STRtree(annotated).query(detected, predicate="intersects")
    shared = shapely.area(shapely.intersection(detected[first], annotated[second]))
    union = shapely.area(detected[first]) + shapely.area(annotated[second]) - shared
    # annotated footprints may overlap each other, so a pair counts once a side
    good = shared > 0.5 * union
    return min(len(set(first[good])), len(set(second[good])))


if __name__ == "__main__":
    typer.run(main)
