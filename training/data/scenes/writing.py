"""Write scenes as images with COCO annotations, from which the same scenes are read again with ``in_memory``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from PIL import Image

from training.data.coco.outlines import rings_of
from training.data.export.writer import CATEGORY, CocoWriter
from training.data.scenes.scene import Scene


def write_scenes(folder: Path, scenes: Sequence[Scene], *, quality: int, licence: str | None = None) -> None:
    """Write a folder in the MapChallenge layout.

    What lies outside a scene's area is said to be not labelled, as its own unlabelled ground is.

    Args:
        folder: is made.
        scenes: an image each.
        quality: of the JPEG files, 1 to 95.
        licence: of the images.
    """
    licences = {"licenses": [{"id": 1, "name": licence}]} if licence else {}
    with CocoWriter(folder, {"description": folder.name, **licences}) as writer:
        for number, scene in enumerate(scenes):
            height, width = scene.image.shape[:2]
            name = f"{number:04}.jpg"
            Image.fromarray(scene.image).save(writer.images / name, quality=quality, optimize=True)
            outside = shapely.difference(shapely.box(0, 0, width, height), scene.area)
            unlabelled = [ring for region in (outside, *scene.ignored) for ring in rings_of(region)]
            entry = {"id": number, "file_name": name, "width": width, "height": height, "gsd": scene.gsd, "place": scene.name}
            writer.add_image(entry | ({"ignore": unlabelled} if unlabelled else {}))
            for footprint, merged in zip(scene.footprints, scene.merged, strict=True):
                rings = rings_of(footprint)
                if not rings:
                    continue
                left, top, right, bottom = np.round(shapely.bounds(footprint), 2).tolist()
                annotation = {
                    "id": writer.annotation_count + 1, "image_id": number, "category_id": CATEGORY, "iscrowd": 0,
                    "segmentation": rings, "area": round(footprint.area, 2), "bbox": [left, top, right - left, bottom - top],
                }  # fmt: skip
                writer.add_annotation(annotation | ({"merged": 1} if merged else {}))
