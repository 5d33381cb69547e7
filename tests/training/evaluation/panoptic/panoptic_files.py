"""Panoptic segmentations written to disk in COCO's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [
    {"id": 3, "name": "road", "isthing": 0},
    {"id": 17, "name": "car", "isthing": 1},
    {"id": 200, "name": "tree", "isthing": 0},
]

Pictures = dict[int, tuple[np.ndarray, list[dict[str, Any]]]]
"""By the id of the picture: the ids of its pixels (H, W), and its ``segments_info``."""


def write_panoptic(path: Path, pictures: Pictures, *, categories: list[dict[str, Any]] | None = None) -> Path:
    """Write a JSON file, with its ``categories`` if there are any, and the PNG files in the folder beside it."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True)
    annotations = []
    for image, (ids, segments) in pictures.items():
        write_ids(folder / f"{image}.png", ids)
        annotations.append({"image_id": image, "file_name": f"{image}.png", "segments_info": segments})
    content = {"images": [], "annotations": annotations}
    path.write_text(json.dumps(content if categories is None else content | {"categories": categories}))
    return path


def write_ids(path: Path, ids: np.ndarray) -> None:
    """Write a PNG whose colours are ids."""
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)).save(path)
