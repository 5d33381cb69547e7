"""A tiny training run: pictures of bright houses on dark ground, a model of a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

SMALL_MODEL = {
    "num_classes": 1,
    "backbone": {"kind": "resnet", "block": "basic", "depths": [1, 1, 1, 1], "widths": [16, 16, 24, 32], "norm": "frozen"},
    "hidden_dim": 32,
    "pixel_decoder": {"layers": 1, "feedforward": 48, "mask_dim": 32},
    "decoder": {"layers": 2, "feedforward": 40, "queries": 12, "box_initialisation": "bitmask"},
}


def write_houses(folder: Path, *, images: int, size: int = 96, seed: int = 0) -> Path:
    """Write a data set in the MapChallenge layout: one or two bright houses a picture, none in the last one."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    entries, annotations = [], []
    for number in range(images):
        picture = rng.integers(30, 70, (size, size, 3)).astype(np.uint8)
        for side in range(0 if number == images - 1 else 1 + number % 2):
            x, y = int(rng.integers(2, 12)) + 44 * side, int(rng.integers(2, size - 32))
            width, height = int(rng.integers(16, 28)), int(rng.integers(16, 28))
            picture[y : y + height, x : x + width] = 220
            ring = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number + 1, "category_id": 100, "iscrowd": 0,
                 "segmentation": [ring], "bbox": [x, y, width, height], "area": width * height}
            )  # fmt: skip
        name = f"{number:03}.png"
        Image.fromarray(picture).save(folder / "images" / name)
        entries.append({"id": number + 1, "file_name": name, "width": size, "height": size})
    content = {"images": entries, "annotations": annotations, "categories": [{"id": 100, "name": "building"}]}
    (folder / "annotation.json").write_text(json.dumps(content))
    return folder


def config_document(folder: Path, **run: Any) -> dict[str, Any]:
    """Return a config for the data sets ``train`` and ``val`` in a folder; ``run`` updates its section of that name."""
    return {
        "name": "houses",
        "model": SMALL_MODEL,
        "data": {
            "sources": [{"kind": "coco", "folder": str(folder / "train")}],
            "validation": [{"kind": "coco", "folder": str(folder / "val")}],
            "size": 96,
        },
        "losses": {"points": 64, "denoising": {"number": 6}},
        "optimizer": {"learning_rate": 1e-3, "backbone_factor": 1.0, "clip": 0.1},
        "schedule": {"kind": "cosine", "warm_up": 2, "warm_up_factor": 0.1},
        "run": {"steps": 6, "batch": 2, "validate_every": 3, "average": 0.9, "workers": 0, "device": "cpu", "pictures": 2}
        | run,
    }


def write_run(folder: Path, **run: Any) -> Path:
    """Write the data sets and the config; return the config's path."""
    write_houses(folder / "train", images=7)
    write_houses(folder / "val", images=3, seed=1)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config_document(folder, **run)))
    return path
