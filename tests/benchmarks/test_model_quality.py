"""The report by place: on ground that a test makes, with a model that finds what is bright."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
import torch
import yaml
from PIL import Image
from scipy import ndimage

from engine.model.postprocess import ImageInstances
from tests.training.run.training_run import write_houses
from training.config.config_file import CONFIGS
from training.data.synthetic.town import write_town
from training.evaluation.coco.mask_scores import MaskScores, measure_model

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # where its programs find one another

import confusion_gallery
import held_out
import model_quality


class FindsBright(torch.nn.Linear):
    """Stands where a model would: each bright patch is an instance, of a score that its size makes."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    def instances(self, images: torch.Tensor, *, threshold: float) -> list[ImageInstances]:
        labels, count = ndimage.label(images[0, 0].numpy() > 200)
        masks = torch.from_numpy(labels[None] == np.arange(1, count + 1)[:, None, None])
        scores = 0.9 + masks.sum(dim=(1, 2)) / 1e6
        return [ImageInstances(scores, torch.zeros(count, dtype=torch.int64), torch.zeros(count, 4), masks)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of imagery, and a config that names a place on a raster, one of images, one that is coarse, and towns."""
    data = tmp_path_factory.mktemp("data")
    write_town(data / "town.tif", data / "town.gpkg", seed=6, size=400, gsd=0.3, style="dense")
    west, south, east, north = geopandas.read_file(data / "town.gpkg").total_bounds.tolist()
    whole = geopandas.GeoSeries([shapely.box(west, south, east, north)], crs="EPSG:32645")
    whole.to_file(data / "area.gpkg")
    for place in ("bright", "coarse"):
        write_houses(data / place, images=5)
    write_houses(data / "mapchallenge", images=3)
    here = "../shared/data"
    town = {"kind": "raster", "name": "Town", "rasters": [f"{here}/town.tif"], "footprints": f"{here}/town.gpkg"}
    images = {"kind": "coco", "in_memory": True, "gsd": 0.3, "hold_out": ["003*", "004*"]}
    sources = [
        town | {"area": f"{here}/area.gpkg", "hold_out": [[west, south, east, south + 0.4 * (north - south)]]},
        images | {"name": "Bright", "folder": f"{here}/bright"},
        images | {"name": "Coarse", "folder": f"{here}/coarse", "scale": [0.4, 0.9]},
        {"kind": "towns", "count": 1},
    ]
    document = yaml.safe_load((CONFIGS / "embedded.yaml").read_text())
    document["data"] = {"sources": sources, "size": 96, "gsd": 0.3, "samples_per_epoch": 1}
    config = data / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    return config, data


def test_a_model_that_is_right_is_called_right_place_by_place(ground: tuple[Path, Path], capsys) -> None:
    places = held_out.held_out_samples(held_out.read_ground(*ground))
    assert list(places.ranges) == ["Town", "Bright", "Coarse", "MapChallenge"]
    bright = [number for name in ("Bright", "Coarse", "MapChallenge") for number in places.ranges[name]]
    accumulator = measure_model(FindsBright(), places)
    model_quality.print_masks(
        accumulator, dict(places.ranges) | {"bright": bright} | model_quality.groups(places, coarse={"Coarse"})
    )
    rows = table(capsys.readouterr().out)
    # Of five pictures the last has no house and the one before it two; of three, one and two.
    assert {name: row[:2] for name, row in rows.items() if name in ("Bright", "Coarse", "MapChallenge", "bright")} == {
        "Bright": ["2", "2"], "Coarse": ["2", "2"], "MapChallenge": ["3", "3"], "bright": ["7", "7"],
    }  # fmt: skip
    assert rows["bright"][2:] == ["1.000"] * 6
    assert float(rows["Town"][-1]) < 1
    crops, buildings = ([int(rows[name][column]) for name in ("Town", "Bright", "Coarse")] for column in (0, 1))
    assert rows["all places"][:2] == [str(sum(crops)), str(sum(buildings))]
    assert rows["all places but Coarse"][:2] == [str(sum(crops[:2])), str(sum(buildings[:2]))]
    assert "the first four places" not in rows


@pytest.mark.slow
def test_the_program_reports_masks_and_layer_and_draws_a_gallery(ground: tuple[Path, Path], tiny_model: Path, capsys) -> None:
    config, data = ground
    gallery = data / "gallery.png"
    model_quality.main(model=str(tiny_model), data=data, config=str(config), gallery=gallery)
    rows = table(capsys.readouterr().out)
    annotated = [int(rows[f"Town, {part}"][0]) for part in ("held out", "trained on")]
    assert min(annotated) > 0 and sum(annotated) <= len(geopandas.read_file(data / "town.gpkg"))
    with Image.open(gallery) as picture:
        width, height = picture.size
    assert width > 3 * 2 * 96 and height > 4 * 96


@pytest.mark.slow
def test_the_embedded_model_is_measured_on_the_places_of_its_config(shared_data: Path) -> None:
    places = held_out.held_out_samples(held_out.read_ground("embedded", shared_data))
    first = [places[number] for name in held_out.FIRST_PLACES for number in places.ranges[name]]
    assert sum(int((~sample.crowd).sum()) for sample in first) == 335
    assert len(places.ranges[held_out.MAPCHALLENGE]) == 20


def test_crops_for_the_gallery_are_the_extremes_and_the_middle() -> None:
    empty = MaskScores(0.0, 0.0, 0.0, 0.0, 0.0, threshold=0.5, images=1, buildings=0, detections=0)
    right = replace(empty, buildings=2, detections=2, precision=1.0, recall=1.0, f1=1.0)
    half = replace(empty, buildings=4, detections=4, precision=0.5, recall=0.5, f1=0.5)
    false = replace(empty, detections=3)
    missed = replace(empty, buildings=5)
    scores = {0: false, 1: right, 2: missed, 3: half, 4: empty, 5: replace(right, buildings=9, detections=9)}
    assert [(word, number) for word, number, _ in confusion_gallery.choose_crops(scores)] == [
        ("best", 5), ("typical", 3), ("worst", 2),
    ]  # fmt: skip
    assert [word for word, *_ in confusion_gallery.choose_crops({0: half, 1: right})] == ["best", "worst"]
    assert not confusion_gallery.choose_crops({0: empty})


def table(text: str) -> dict[str, list[str]]:
    """Read the printed rows: the cells after the first, by the first."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}
