"""How good a model is on real ground that it never saw, place by place.

    python benchmarks/model_quality.py [--model NAME_OR_FILE] [--data FOLDER] [--config NAME_OR_FILE] [--gallery FILE.png]

Two measures: masks on the crops of each place's held-out ground, and the layer that `maskdino detect` writes for a whole image
beside the annotated footprints, inside the held-out and inside the training part of the labelled area. Precision, recall and
F1 are at a score and an IoU of 0.5; AP is COCO's; boundary AP is that of arXiv 2103.16562. Needs the real imagery, which is not
part of the project.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import geopandas
import shapely
import torch
import typer
from confusion_gallery import draw_gallery
from held_out import DATA, FIRST_PLACES, MAPCHALLENGE, held_out_samples, read_ground

import engine
from engine.model.instance_model import InstanceModel
from training.data.config import RasterData
from training.data.scenes.raster import split_ground
from training.data.training_data import Places
from training.evaluation.coco.mask_scores import MaskAccumulator, measure_model
from training.evaluation.layers.evaluation import evaluate_layers

SCORE = 0.5


def main(
    model: str = "maskdino_lite",
    data: Path = DATA,
    config: str = typer.Option("embedded", help="The training config that names the places."),
    gallery: Path | None = typer.Option(None, help="Draw the best, a typical and the worst crop of each place into this file."),
) -> None:
    """Print both measures."""
    ground = read_ground(config, data)
    loaded = engine.load_model(model)
    places = held_out_samples(ground)
    print(f"{model} on {platform.machine()}, torch {torch.__version__}\n")
    accumulator = measure_model(loaded, places)
    coarse = {source.name for source in ground.sources if source.scale is not None}
    print_masks(accumulator, dict(places.ranges) | groups(places, coarse=coarse))
    for source in ground.sources:
        if isinstance(source, RasterData) and source.hold_out:
            print_layer(loaded, source)
    if gallery is not None:
        draw_gallery(loaded, places, accumulator).save(gallery)
        print(f"\n{gallery}: the best, a typical and the worst crop of each place")


def groups(places: Places, *, coarse: set[str]) -> dict[str, list[int]]:
    """Return the crops of places that are measured together, by the name of the group.

    Args:
        places: all crops.
        coarse: names of places whose imagery is much coarser or finer than the rest.
    """
    together = {"the first four places": FIRST_PLACES} if set(FIRST_PLACES) <= set(places.ranges) else {}
    trained = [name for name in places.ranges if name != MAPCHALLENGE]
    if coarse:
        together[f"all places but {', '.join(sorted(coarse))}"] = [name for name in trained if name not in coarse]
    together["all places"] = trained
    return {group: [number for name in names for number in places.ranges[name]] for group, names in together.items()}


def print_masks(accumulator: MaskAccumulator, rows: dict[str, Sequence[int]]) -> None:
    """Print a row of figures for each set of crops."""
    print("| held-out ground | crops | buildings | AP50 | AP | boundary AP | precision | recall | F1 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, numbers in rows.items():
        found = accumulator.scores(threshold=SCORE, numbers=set(numbers), boundary=True)
        figures = (found.ap50, found.ap, found.boundary_ap, found.precision, found.recall, found.f1)
        print(f"| {name} | {found.images} | {found.buildings} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")


def print_layer(model: InstanceModel, source: RasterData) -> None:
    """Detect in the first raster of a source and print a row for each part of its labelled area."""
    raster = source.rasters[0]
    aside = shapely.union_all([shapely.box(*box) for box in source.hold_out])
    split = split_ground(geopandas.read_file(source.area).geometry, aside, margin=source.margin)
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder, "buildings.gpkg")
        summary = engine.detect(raster, layer, model=model, score=SCORE)
        seconds = summary.seconds["total"]
        print(f"\ndetect on {raster.name}: {summary.megapixels:.1f} MPix in {seconds:.0f} s on {summary.device}\n")
        print("| layer, part of the labelled area | annotated | detected | right | precision | recall | F1 |")
        print("|---|---|---|---|---|---|---|")
        for name, area in (("held out", split.validation), ("trained on", split.training)):
            part = Path(folder, f"{name}.gpkg")
            geopandas.GeoSeries([area], crs=split.crs).to_file(part)
            found = evaluate_layers(layer, source.footprints, aoi=part).figures
            counts = f"{found.annotations} | {found.detections} | {found.true_positives}"
            print(
                f"| {source.name or raster.name}, {name} | {counts} | "
                f"{found.precision:.3f} | {found.recall:.3f} | {found.f1:.3f} |"
            )


if __name__ == "__main__":
    typer.run(main)
