"""Reading data sets in the MapChallenge layout: ``images/`` and ``annotation.json`` in COCO format.

Published files carry wrong ``bbox`` and ``area`` fields, so only ``segmentation`` is believed. Polygons become pixels by the
rule that a pixel belongs to a polygon where its centre lies inside; annotations that cover no pixel centre are dropped.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from PIL import Image

from engine.errors import ArgumentError
from training.data.sample import Sample

logger = logging.getLogger(__name__)

ANNOTATION_NAMES = ("annotation.json", "annotation-small.json", "annotations.json")


@dataclass(frozen=True)
class CocoImage:
    """One entry of ``images``; ``bounds`` (xmin, ymin, xmax, ymax) and ``zoom`` are there where the file tells the ground."""

    id: int
    path: Path
    width: int
    height: int
    zoom: int | None = None
    bounds: tuple[float, float, float, float] | None = None


class CocoFolder:
    """A folder of images with COCO annotations; images are read when they are asked for.

    Args:
        folder: holds ``images/`` and ``annotation.json``.
        images: another place for the images.
        annotations: another file of annotations.

    Raises:
        ArgumentError: there is no annotation file, or it is not COCO.
    """

    def __init__(self, folder: str | Path, *, images: str | Path | None = None, annotations: str | Path | None = None) -> None:
        folder = Path(folder)
        self.annotation_file = Path(annotations) if annotations is not None else find_annotations(folder)
        directory = Path(images) if images is not None else folder / "images"
        content = read_coco(self.annotation_file)
        self.images = [image_entry(entry, directory, self.annotation_file) for entry in content["images"]]
        self._annotations: dict[int, list[dict]] = defaultdict(list)
        for annotation in content["annotations"]:
            self._annotations[annotation["image_id"]].append(annotation)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        entry = self.images[index]
        with Image.open(entry.path) as image:
            pixels = np.asarray(image.convert("RGB"))
        # Annotations are in the pixels that the file says; an image of another size would shift every footprint.
        if pixels.shape[:2] != (entry.height, entry.width):
            raise ArgumentError(
                f"{entry.path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, its annotation says "
                f"{entry.width}x{entry.height}.",
                hint="Bring back the images that the annotations were made for.",
            )
        masks, crowd = self.masks(index)
        return Sample(pixels, masks, entry.path.name, crowd)

    def masks(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return masks (N, H, W) bool and crowd (N,) bool of one image, without reading the image."""
        entry = self.images[index]
        masks, crowd = [], []
        for annotation in self._annotations[entry.id]:
            mask = mask_of_segmentation(annotation.get("segmentation"), entry.height, entry.width)
            if mask.any():
                masks.append(mask)
                crowd.append(bool(annotation.get("iscrowd", 0)))
            else:
                logger.debug("%s: annotation %s covers no pixel", entry.path.name, annotation.get("id"))
        stack = np.stack(masks) if masks else np.zeros((0, entry.height, entry.width), dtype=bool)
        return stack, np.array(crowd, dtype=bool)

    def polygons(self, index: int) -> list[shapely.Geometry]:
        """Return the polygons of one image in its pixels, crowds and run-length masks left out."""
        segmentations = [a.get("segmentation") for a in self._annotations[self.images[index].id] if not a.get("iscrowd", 0)]
        polygons = [polygon_of_rings(s) for s in segmentations if isinstance(s, list)]
        return [polygon for polygon in polygons if polygon.area > 0]


def mask_of_segmentation(segmentation: list | dict | None, height: int, width: int) -> np.ndarray:
    """Turn a COCO segmentation, a list of rings or a run-length encoding, into a mask (H, W) bool."""
    if isinstance(segmentation, dict):
        from pycocotools import mask as run_lengths

        encoded = segmentation
        if isinstance(segmentation["counts"], list):
            encoded = run_lengths.frPyObjects(segmentation, height, width)
        elif isinstance(segmentation["counts"], str):
            encoded = {**segmentation, "counts": segmentation["counts"].encode("ascii")}
        return run_lengths.decode(encoded).astype(bool)
    polygon = polygon_of_rings(segmentation or [])
    if polygon.is_empty:
        return np.zeros((height, width), dtype=bool)
    return rasterio.features.rasterize([polygon], out_shape=(height, width), dtype="uint8").astype(bool)


def polygon_of_rings(rings: list[list[float]]) -> shapely.Geometry:
    """Join COCO rings, x and y by turns, into one valid geometry of polygons; it is empty where no ring holds any area."""
    polygons = []
    for ring in rings:
        points = np.asarray(ring, dtype=float).reshape(-1)
        points = points[: len(points) // 2 * 2].reshape(-1, 2)
        if len(points) >= 3 and np.isfinite(points).all():
            polygons.append(shapely.make_valid(shapely.Polygon(points)))
    joined = shapely.union_all(polygons) if polygons else shapely.Polygon()
    parts = [part for part in shapely.get_parts(joined) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def find_annotations(folder: Path) -> Path:
    """Return the annotation file of a data set's folder.

    Raises:
        ArgumentError: there is none.
    """
    for name in ANNOTATION_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ArgumentError(
        f"The data set {folder} holds none of {', '.join(ANNOTATION_NAMES)}.",
        hint="Give the folder that holds images/ and annotation.json.",
    )


def read_coco(path: Path) -> dict:
    """Read a COCO file as it is.

    Raises:
        ArgumentError: it cannot be read, or has no images or annotations.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArgumentError(f"The annotation file {path} cannot be read: {error}.", hint="Give a COCO file.") from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ArgumentError(f"The annotation file {path} has no images or no annotations.", hint="Give a COCO file.")
    return content


def image_entry(entry: dict, directory: Path, source: Path) -> CocoImage:
    """Understand one entry of ``images``; ``source`` is the file that it stands in."""
    try:
        bounds = tuple(float(value) for value in entry["bounds"]) if entry.get("bounds") else None
        path = directory / entry["file_name"]
        return CocoImage(entry["id"], path, int(entry["width"]), int(entry["height"]), entry.get("zoom"), bounds)
    except KeyError as error:
        raise ArgumentError(f"An image in {source} has no {error}.", hint="Give a COCO file.") from error
