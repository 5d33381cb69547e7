"""A data set in the MapChallenge layout, written by a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SQUARE = [2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0]
SIZE = (20, 16)


def write_folder(
    folder: Path,
    annotations: Sequence[dict[str, Any]],
    *,
    names: Sequence[str] = ("one.png",),
    size: tuple[int, int] = SIZE,
    categories: Sequence[dict[str, Any]] = ({"id": 100, "name": "building"},),
    images: Sequence[dict[str, Any]] | None = None,
) -> Path:
    """Write a folder with the image ids 7, 8 ...; annotations are numbered, and lie on image 7 and in category 100 if they do
    not say otherwise. ``images`` takes the place of the entries of the files ``names``."""
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(names):
        pixels = (np.arange(size[0] * size[1] * 3, dtype=np.uint32) + 17 * number).reshape(size[1], size[0], 3) % 251
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name)
    entries = [{"id": 7 + n, "file_name": name, "width": size[0], "height": size[1]} for n, name in enumerate(names)]
    filled = [{"id": n, "image_id": 7, "category_id": 100, "iscrowd": 0, **a} for n, a in enumerate(annotations)]
    content = {"info": {}, "categories": list(categories), "images": entries if images is None else list(images)}
    (folder / "annotation.json").write_text(json.dumps({**content, "annotations": filled}), encoding="utf-8")
    return folder


def square(x: float, y: float, side: float) -> list[float]:
    """Return the ring of a square."""
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def repaired(repairs: dict[str, int], words: str) -> int:
    """Return how often the repair with these words was made; 0 where it was not."""
    return sum(count for what, count in repairs.items() if words in what)
