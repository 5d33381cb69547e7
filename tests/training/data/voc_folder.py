"""Objects written to disk in the layout of Pascal VOC, and the same in COCO's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from pycocotools import mask as run_lengths


class Drawn(NamedTuple):
    """An object of a picture: its class, its pixels (H, W) bool, whether it is difficult."""

    name: str
    mask: np.ndarray
    difficult: bool = False


Pictures = dict[str, tuple[np.ndarray, Sequence[Drawn]]]
"""By name: the pixels (H, W, 3) uint8, and its objects, no pixel of which belongs to two."""


def write_voc(folder: Path, pictures: Pictures, *, splits: dict[str, list[str]] | None = None, suffix: str = ".png") -> Path:
    """Write a folder; ``splits`` are lists of names."""
    for part in ("Annotations", "JPEGImages", "SegmentationObject", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for name, (pixels, objects) in pictures.items():
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}{suffix}")
        drawn = np.zeros(pixels.shape[:2], dtype=np.uint8)
        for number, each in enumerate(objects, start=1):
            drawn[each.mask] = number
        write_objects(folder, name, drawn)
        write_list(folder, name, [(each.name, box_of(each.mask), each.difficult) for each in objects])
    for split, names in (splits or {}).items():
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder


def write_objects(folder: Path, name: str, drawn: np.ndarray) -> None:
    """Write the picture of the objects' numbers, with a palette as VOC's have."""
    picture = Image.fromarray(drawn)
    picture.putpalette([value for number in range(256) for value in (number, 255 - number, 7 * number % 256)])
    picture.save(folder / "SegmentationObject" / f"{name}.png")


def write_list(folder: Path, name: str, objects: Sequence[tuple[str, tuple[int, ...], bool]]) -> None:
    """Write the list of objects: class, box as VOC counts (first and last pixel, from 1 on), difficult."""
    entries = "".join(
        f"<object><name>{escape(label)}</name><difficult>{int(difficult)}</difficult><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox><part><name>head</name></part></object>"
        for label, box, difficult in objects
    )
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation><filename>{name}.jpg</filename>{entries}</annotation>")


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box of a mask as VOC counts; nothing in particular for one without pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (columns[0] + 1, rows[0] + 1, columns[-1] + 1, rows[-1] + 1) if len(rows) else (1, 1, 2, 2)


def write_coco(folder: Path, pictures: Pictures) -> Path:
    """Write the same objects as COCO, the classes in alphabetical order."""
    (folder / "images").mkdir(parents=True)
    classes = sorted({each.name for _, objects in pictures.values() for each in objects})
    content = {"images": [], "annotations": [], "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)]}
    for number, (name, (pixels, objects)) in enumerate(pictures.items(), start=1):
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        height, width = pixels.shape[:2]
        content["images"].append({"id": number, "file_name": f"{name}.png", "width": width, "height": height})
        for each in objects:
            mask = run_lengths.encode(np.asfortranarray(each.mask, dtype=np.uint8))
            content["annotations"].append({
                "id": len(content["annotations"]) + 1, "image_id": number, "category_id": classes.index(each.name) + 1,
                "iscrowd": int(each.difficult), "segmentation": mask | {"counts": mask["counts"].decode("ascii")},
                "bbox": run_lengths.toBbox(mask).tolist(), "area": int(each.mask.sum()),
            })  # fmt: skip
    (folder / "annotation.json").write_text(json.dumps(content))
    return folder
