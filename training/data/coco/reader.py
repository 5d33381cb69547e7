"""Read a COCO file piece by piece into a few arrays, and count what it holds that is not COCO."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from training.data.audit.stream import walk
from training.data.coco.layout import CocoImage, image_entry
from training.data.coco.run_counts import run_counts

_LARGEST_MASK = 1 << 28  # pixels, of run lengths; larger ones are no mask of a picture
_TYPES = {
    **dict.fromkeys(("points", "stated_boxes", "stated_areas", "run_boxes", "run_areas"), "f"),
    **dict.fromkeys(("point_ends", "ring_ends", "run_ends", "run_sizes", "run_numbers", "owners"), "q"),
    "categories": "i",
    **dict.fromkeys(("runs", "crowds", "merged"), "B"),
}
_WIDTHS = {"points": 2, "stated_boxes": 4, "run_boxes": 4, "run_sizes": 2}


class CocoReader:
    """A COCO file, R of whose annotations have an outline.

    Args:
        file: of annotations.
        folder: that ``file_name`` entries lie in.

    Attributes:
        images, names: entries of ``images`` and the names of their files, each file once; a size that
            is not told is 0.
        image_of: index of the image by id.
        categories: names by id, as the file lists them.
        licence: of the images, where the file names one.
        faults: how often each was met, by the names of ``audit_annotations.FAULTS`` and ``coco_repairs.REPAIRS``.
        owner_ids, category_ids: the number in ``columns`` of each id that annotations have for their image and category.

    Raises:
        ArgumentError: it cannot be read, is not COCO, or says two things of one image.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.file, self.folder = file, folder
        self.images: list[CocoImage] = []
        self.names: list[str] = []
        self.image_of: dict[int | str, int] = {}
        self.categories: dict[Any, str] = {}
        self.licence: str | None = None
        self.faults: Counter[str] = Counter()
        self.owner_ids: dict[Any, int] = {}
        self.category_ids: dict[Any, int] = {}
        self._columns = {name: array(kind) for name, kind in _TYPES.items()}
        self._file_of: dict[str, int] = {}
        self._annotation_ids = array("q")
        keys = set()
        for key, item in walk(file, {"images", "annotations", "categories", "licenses"}):
            keys.add(key)
            if key == "annotations" and item is not None:
                self._add_annotation(item)
            elif key == "images" and item is not None:
                self._add_image(item)
            elif key == "categories" and isinstance(item, dict) and isinstance(item.get("id"), (int, str)):
                self.categories[item["id"]] = str(item.get("name", item["id"]))
            elif key == "licenses" and isinstance(item, dict) and item.get("name"):
                self.licence = ", ".join(filter(None, [self.licence, str(item["name"])]))
        if not {"images", "annotations"} <= keys:
            raise ArgumentError(f"The annotation file {file} has no images or no annotations.", hint="Give a COCO file.")
        self.faults["duplicate_id"] += len(self._annotation_ids) - len(np.unique(self._annotation_ids))

    def columns(self) -> dict[str, np.ndarray]:
        """Return the arrays of ``OutlineTable``, and of each annotation that has an outline:

        ``stated_boxes`` (R, 4) and ``stated_areas`` as the file says them, NaN where it does not; ``owners`` and
        ``categories``, numbers of ids, -1 of what is no id; ``crowds`` and ``merged`` (an extension: several objects drawn as
        one), 0 or 1. Of the M that are run lengths ``run_numbers`` says
        which, ``run_boxes`` (M, 4), ``run_areas`` and ``run_sizes`` (M, 2), height and width.
        """
        arrays = {name: np.frombuffer(values, values.typecode) for name, values in self._columns.items()}
        return arrays | {name: arrays[name].reshape(-1, width) for name, width in _WIDTHS.items()}

    def _add_image(self, entry: Any) -> None:
        identity, name = (entry.get("id"), entry.get("file_name")) if isinstance(entry, dict) else (None, None)
        if not isinstance(identity, (int, str)) or not isinstance(name, str) or not name:
            raise ArgumentError(
                f"An image in {self.file} has no id or no file_name: {str(entry)[:100]}.", hint="Give a COCO file."
            )
        image = image_entry(
            {**entry, "width": entry.get("width") or 0, "height": entry.get("height") or 0}, self.folder, self.file
        )
        known = self.image_of.get(identity)
        if known is not None:
            if self.names[known] != name:
                raise ArgumentError(
                    f"Two images in {self.file} have the id {identity}: {self.names[known]} and {name}. Their annotations "
                    "cannot be told apart.",
                    hint="`maskdino audit-dataset ... --write` makes a clean copy.",
                )
            self.faults["image_twice"] += 1
        elif name in self._file_of:
            self.image_of[identity] = self._file_of[name]
            self.faults["file_twice"] += 1
        else:
            self.image_of[identity] = self._file_of[name] = len(self.images)
            self.images.append(image)
            self.names.append(name)

    def _add_annotation(self, entry: Any) -> None:
        if not isinstance(entry, dict):
            self.faults["malformed"] += 1
            return
        identity = entry.get("id")
        self._annotation_ids.append(hash(identity if isinstance(identity, (int, str)) else str(identity)))
        segmentation = entry.get("segmentation")
        if not segmentation or (isinstance(segmentation, list) and not any(segmentation)):
            self.faults["no_outline"] += 1
            return
        sound = self._add_runs(segmentation) if isinstance(segmentation, dict) else self._add_rings(segmentation)
        if not sound:
            self.faults["malformed"] += 1
            return
        columns = self._columns
        columns["ring_ends"].append(len(columns["point_ends"]))
        columns["run_ends"].append(len(columns["runs"]))
        columns["crowds"].append(bool(entry.get("iscrowd")))
        columns["merged"].append(bool(entry.get("merged")))
        _extend(columns["stated_boxes"], entry.get("bbox"), 4)
        _extend(columns["stated_areas"], [entry.get("area")], 1)
        columns["owners"].append(_number(self.owner_ids, entry.get("image_id")))
        columns["categories"].append(_number(self.category_ids, entry.get("category_id")))

    def _add_rings(self, segmentation: Any) -> bool:
        """Keep the rings of an outline, if it has any."""
        points, ends = self._columns["points"], self._columns["point_ends"]
        rings, dropped = len(ends), False
        for ring in segmentation if isinstance(segmentation, list) else ():
            try:
                sound = isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0 and math.isfinite(sum(ring))
            except (TypeError, OverflowError):  # something in it is no number
                sound = False
            if sound:
                points.extend(ring)
                ends.append(len(points) // 2)
            dropped |= not sound
        found = len(ends) > rings
        if found and dropped:
            self.faults["malformed_ring"] += 1
        return found

    def _add_runs(self, segmentation: dict) -> bool:
        """Keep the run lengths of an outline, if they are some."""
        counts, size = segmentation.get("counts"), segmentation.get("size")
        if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            return False
        if size[0] * size[1] > _LARGEST_MASK:
            return False
        try:
            runs = counts if isinstance(counts, list) else run_counts(counts.encode("ascii"))
            if sum(runs) != size[0] * size[1] or min(runs) < 0:
                return False
            encoded = run_lengths.frPyObjects({"size": size, "counts": runs}, *size)
        except (AttributeError, TypeError, ValueError):
            return False
        columns = self._columns
        columns["run_numbers"].append(len(columns["run_ends"]))
        columns["runs"].frombytes(encoded["counts"])
        columns["run_boxes"].extend(run_lengths.toBbox(encoded).tolist())
        columns["run_areas"].append(float(run_lengths.area(encoded)))
        columns["run_sizes"].extend(size)
        return True


def look_up(numbers: np.ndarray, ids: dict[Any, int], places: Mapping[Any, int]) -> np.ndarray:
    """Turn numbers of ids into the places that these ids have, -1 for those that have none: (R,) int64."""
    table = np.array([*(places.get(identity, -1) for identity in ids), -1], dtype=np.int64)  # the last is that of number -1
    return table[numbers]


def _number(numbers: dict[Any, int], identity: Any) -> int:
    """Return the number of an id, a new one for one that was not met before; -1 for what is no id."""
    if not isinstance(identity, (int, str)):
        return -1
    return numbers.setdefault(identity, len(numbers))


def _extend(column: array, values: Any, count: int) -> None:
    """Append numbers, or as many NaN where they are not what they should be."""
    length = len(column)
    try:
        column.extend(values)
    except (TypeError, OverflowError):
        del column[length:]
    if len(column) != length + count:
        del column[length:]
        column.extend([math.nan] * count)
