"""How long it takes to open a large data set for training, how much memory it takes, and how fast crops are drawn from it.

    python benchmarks/training_data.py [--images 100000] [--crops 200]

The images are generated; a few of them stand in the folder many times, as links, for what is measured is the reading. Each has
nine annotations, as those of MapChallenge do, with a wrong `bbox`. Crops of the embedded model are drawn from synthetic towns
and put together to batches of 32, as a process of its training does; `--images 0` measures these alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import platform
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import shapely
import torch
import typer
from PIL import Image

from training.config.config_file import read_config
from training.data.augmentation_config import AugmentationConfig
from training.data.batch import collate
from training.data.coco.folder import CocoFolder
from training.data.dataset import TrainingCrops
from training.data.sources import ImageSource, SyntheticSource
from training.data.synthetic.town import SyntheticTown

SIDE = 300  # pixels of an image
DISTINCT = 8  # images
TOWNS = 10
BATCH = 32
ANNOTATIONS = 9  # an image, as MapChallenge has

CONFIGS = {
    "as published (flips, scale 0.1 to 2)": AugmentationConfig(orientations="horizontal", scale=(0.1, 2.0), colour=0.0),
    "the default": AugmentationConfig(),
    "everything": AugmentationConfig(scale=(0.1, 2.0), perspective=0.5, mosaic=0.5, mixup=0.5),
}


def main(
    images: int = typer.Option(100_000, help="Images in the folder; 0 leaves it out."),
    crops: int = typer.Option(200, help="Crops to draw with each set of augmentations."),
) -> None:
    """Generate, open, draw, print."""
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}")
    _draw_embedded(crops)
    if not images:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:  # whose memory is not the reader's
            child.submit(_write, folder, images).result()
        before, started, busy = _peak(), time.perf_counter(), time.process_time()
        data = CocoFolder(folder)
        wall, cpu = time.perf_counter() - started, time.process_time() - busy
        print(f"{len(data)} images, {sum(data.repairs.values())} repairs: opened in {wall:.1f} s, {cpu:.1f} s of one core")
        stay = len(pickle.dumps(data)) / 1e6
        print(
            f"memory: {_peak():.0f} MB at most, of which {before:.0f} MB for the libraries; {stay:.0f} MB stay, for all workers"
        )
        for title, augmentation in CONFIGS.items():
            source = ImageSource(data, fit=True)
            train = TrainingCrops([(source, 1.0)], length=None, size=320, augmentation=augmentation)
            started, busy = time.perf_counter(), time.process_time()
            for index in range(crops):
                train[index]
            wall, cpu = time.perf_counter() - started, time.process_time() - busy
            print(f"crops of 320 pixels, {title}: {1e3 * wall / crops:.0f} ms each, {1e3 * cpu / crops:.0f} ms of one core")


def _draw_embedded(crops: int) -> None:
    """Measure crops as the embedded model is trained on, in batches."""
    config = read_config("embedded")
    towns = SyntheticSource(TOWNS, gsd=config.data.gsd, styles=config.data.sources[-1].styles)
    for number in range(TOWNS):
        towns.scene(number)
    size = config.data.size
    train = TrainingCrops([(towns, 1.0)], length=crops, size=size, augmentation=config.augmentation)
    started, busy = time.perf_counter(), time.process_time()
    for first in range(0, crops, BATCH):
        collate([train[index] for index in range(first, min(first + BATCH, crops))])
    wall, cpu = time.perf_counter() - started, time.process_time() - busy
    print(
        f"crops of {size} pixels, the embedded model's, in batches: {1e3 * wall / crops:.1f} ms each, "
        f"{1e3 * cpu / crops:.1f} ms of one core"
    )


def _write(folder: Path, images: int) -> None:
    (folder / "images").mkdir()
    outlines = []
    for number in range(DISTINCT):
        town = SyntheticTown(number, SIDE, 0.3)
        Image.fromarray(town.image).save(folder / f"{number}.jpg", quality=90)
        corners = [shapely.get_coordinates(house.exterior)[:-1] for house in town.footprints[:ANNOTATIONS]]
        outlines.append([[np.round(points, 2).ravel().tolist()] for points in corners])
    category = {"id": 100, "name": "building"}
    with (folder / "annotation.json").open("w") as target:
        target.write(json.dumps({"categories": [category]})[:-1] + ', "annotations": [')
        written = 0
        for number in range(images):
            os.link(folder / f"{number % DISTINCT}.jpg", folder / "images" / f"{number:09}.jpg")
            for rings in outlines[number % DISTINCT]:
                entry = {
                    "id": written,
                    "image_id": number,
                    "category_id": 100,
                    "segmentation": rings,
                    "area": 0.0,
                    "bbox": [0.0] * 4,
                }
                target.write((", " if written else "") + json.dumps({**entry, "iscrowd": 0}))
                written += 1
        entries = [{"id": n, "file_name": f"{n:09}.jpg", "width": SIDE, "height": SIDE} for n in range(images)]
        target.write('], "images": ' + json.dumps(entries) + "}")


def _peak() -> float:
    """Return the most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    typer.run(main)
