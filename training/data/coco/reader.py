"""Read a COCO file piece by piece into a few arrays: training, audit and evaluation all read with this."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from training.data.coco.faults import Faults
from training.data.coco.index import OutlineTable
from training.data.coco.layout import LARGEST_SIDE, CocoImage, ignore_rings, image_entry
from training.data.coco.outlines import encoded_runs, sound_rings
from training.data.coco.stream import BEGINNING, walk

_TYPES = {
    **dict.fromkeys(("points", "boxes", "areas", "run_boxes", "run_areas"), "d"),
    **dict.fromkeys(("ids", "point_ends", "ring_ends", "run_ends", "run_rows", "run_sizes"), "q"),
    **dict.fromkeys(("owners", "categories"), "i"),
    **dict.fromkeys(("runs", "numbered", "crowds", "merged"), "B"),
}
_AS_READ = ("ids", "numbered", "boxes", "areas", "run_rows", "run_boxes", "run_areas", "run_sizes")
_WIDTHS = {"points": 2, "boxes": 4, "run_boxes": 4, "run_sizes": 2}


@dataclass(frozen=True, eq=False)
class Annotations:
    """The A entries of ``annotations``, in their order; M of them have run lengths.

    Attributes:
        ids: (A,) int64, the same for two entries if their ids are.
        numbered: (A,) uint8, 1 where ``ids`` are what the file says, which has a number.
        owners: (A,) int64, the number of the image, -1 if the file lists none of that id.
        categories: (A,) int64, the number of the category by order of ids, -1 if the file does not list it.
        crowds, merged: (A,) bool; ``merged`` is an extension of COCO: several objects drawn as one.
        boxes, areas: (A, 4) and (A,) as the file says them, NaN where it does not.
        outlines: those that can be read; the others have neither rings nor run lengths.
        run_rows: (M,) which have run lengths.
        run_boxes, run_areas, run_sizes: (M, 4) left, top, width and height; (M,); (M, 2) height and width.
    """

    ids: np.ndarray
    numbered: np.ndarray
    owners: np.ndarray
    categories: np.ndarray
    crowds: np.ndarray
    merged: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    outlines: OutlineTable
    run_rows: np.ndarray
    run_boxes: np.ndarray
    run_areas: np.ndarray
    run_sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.owners)


class CocoReader:
    """A COCO file.

    Args:
        file: of annotations.
        folder: that ``file_name`` entries lie in.
        annotations: read them too; without them it takes a fraction of the memory.

    Attributes:
        images, names: entries of ``images`` and the names of their files, each file once.
        image_of: number of the image by id.
        two_files: numbers of the images whose id another file has too.
        categories: entries by id, in order of ids; of a file that lists none, the ids that annotations have.
        info: what the file says of itself.
        licence: of the images, where the file names one.
        annotations: as arrays.
        faults: of the images' entries.
        row_faults: the annotations, by their place in the file, that have no outline, or one that cannot be read in whole.

    Raises:
        ArgumentError: it cannot be read, or is not COCO.
    """

    def __init__(self, file: Path, folder: Path, *, annotations: bool = True) -> None:
        self.file, self.folder = file, folder
        self.images: list[CocoImage] = []
        self.names: list[str] = []
        self.image_of: dict[int | str, int] = {}
        self.two_files: set[int] = set()
        self.categories: dict[Any, dict[str, Any]] = {}
        self.info: dict[str, Any] = {}
        self.licence: str | None = None
        self.faults = Faults()
        self.row_faults = {name: array("q") for name in ("no_outline", "malformed", "malformed_ring")}
        self._columns = {name: array(kind) for name, kind in _TYPES.items()}
        self._file_of: dict[str, int] = {}
        self._owner_ids: dict[Any, int] = {}
        self._category_ids: dict[Any, int] = {}
        self._read(annotations)
        self.annotations = self._arrays()
        del self._columns, self._file_of, self._owner_ids, self._category_ids  # tens of megabytes

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the categories."""
        return tuple(str(entry.get("name", identity)) for identity, entry in self.categories.items())

    def image_name(self, number: int) -> str:
        """Return how messages name an image."""
        return f"{self.names[number]} (id {self.images[number].id})"

    def annotation_name(self, row: int) -> str:
        """Return how messages name an annotation."""
        found, owner = self.annotations, int(self.annotations.owners[row])
        name = f"annotation {found.ids[row]}" if found.numbered[row] else f"annotation number {row + 1} of the file"
        return name if owner < 0 else f"{name} on {self.names[owner]}"

    def _read(self, annotations: bool) -> None:
        keys = set()
        for key, item in walk(self.file, {"images", "annotations", "categories", "licenses", "info"}):
            keys.add(key)
            if key == "info":
                self.info = item if isinstance(item, dict) else {}
            elif item is BEGINNING:
                continue
            elif key == "annotations":
                if annotations:
                    self._add_annotation(item)
            elif key == "images":
                self._add_image(item)
            elif key == "categories" and isinstance(item, dict) and isinstance(item.get("id"), (int, str)):
                self.categories[item["id"]] = item
            elif key == "licenses" and isinstance(item, dict) and item.get("name"):
                self.licence = ", ".join(filter(None, [self.licence, str(item["name"])]))
        if not {"images", "annotations"} <= keys:
            raise ArgumentError(f"The annotation file {self.file} has no images or no annotations.", hint="Give a COCO file.")

    def _add_image(self, entry: Any) -> None:
        image = image_entry(entry, self.folder)
        if image is None:
            self.faults.add("malformed_image", str(entry)[:120])
            return
        name, known = entry["file_name"], self.image_of.get(image.id)
        about = f"{name} (id {image.id})"
        if known is None and name in self._file_of:
            self.image_of[image.id] = self._file_of[name]
            self.faults.add("file_twice", about)
        elif known is None:
            self.image_of[image.id] = self._file_of[name] = len(self.images)
            self.images.append(image)
            self.names.append(name)
            for ring in ignore_rings(entry)[1]:
                self.faults.add("malformed_ignore", f"{about}: {str(ring)[:60]}")
        elif self._file_of.get(name) == known:
            self.faults.add("image_twice", about)
        else:
            self.two_files.add(known)
            self.faults.add("two_files", f"{about} and {self.names[known]}")

    def _add_annotation(self, entry: Any) -> None:
        columns, row = self._columns, len(self._columns["owners"])
        fault = self._add_outline(entry.get("segmentation"), row) if isinstance(entry, dict) else "malformed"
        if fault:
            self.row_faults[fault].append(row)
        if not isinstance(entry, dict):
            entry = {}
        columns["ring_ends"].append(len(columns["point_ends"]))
        columns["run_ends"].append(len(columns["runs"]))
        columns["ids"].append(_id_number(entry.get("id")))
        columns["numbered"].append(isinstance(entry.get("id"), int))
        columns["owners"].append(_number(self._owner_ids, entry.get("image_id")))
        columns["categories"].append(_number(self._category_ids, entry.get("category_id")))
        columns["crowds"].append(bool(entry.get("iscrowd")))
        columns["merged"].append(bool(entry.get("merged")))
        _extend(columns["boxes"], entry.get("bbox"), 4)
        _extend(columns["areas"], [entry.get("area")], 1)

    def _add_outline(self, segmentation: Any, row: int) -> str:
        """Keep what can be read of an outline; return what is wrong with it."""
        if not segmentation or (isinstance(segmentation, list) and not any(segmentation)):
            return "no_outline"
        if isinstance(segmentation, dict):
            return self._add_runs(segmentation, row)
        sound, malformed = sound_rings(segmentation) if isinstance(segmentation, list) else ([], [])
        points, ends = self._columns["points"], self._columns["point_ends"]
        for ring in sound:
            points.extend(ring)
            ends.append(len(points) // 2)
        if not sound:
            return "malformed"
        return "malformed_ring" if malformed else ""

    def _add_runs(self, segmentation: dict[str, Any], row: int) -> str:
        encoded = encoded_runs(segmentation)
        if encoded is None:
            return "malformed"
        columns = self._columns
        columns["runs"].frombytes(encoded["counts"])
        columns["run_rows"].append(row)
        columns["run_boxes"].extend(run_lengths.toBbox(encoded).tolist())
        columns["run_areas"].append(float(run_lengths.area(encoded)))
        columns["run_sizes"].extend(encoded["size"])
        return ""

    def _arrays(self) -> Annotations:
        arrays = {name: np.frombuffer(values, values.typecode) for name, values in self._columns.items()}
        arrays |= {name: arrays[name].reshape(-1, width) for name, width in _WIDTHS.items()}
        np.clip(arrays["points"], -LARGEST_SIDE, LARGEST_SIDE, out=arrays["points"])  # as far beyond any image as it was
        if not self.categories:
            self.categories = {identity: {"id": identity, "name": str(identity)} for identity in self._category_ids}
        # Ids are numbers nearly always; where they are not, 10 comes before 9.
        ordered = sorted(self.categories, key=lambda identity: (isinstance(identity, str), identity))
        self.categories = {identity: self.categories[identity] for identity in ordered}
        places = {identity: place for place, identity in enumerate(ordered)}
        return Annotations(
            owners=_look_up(arrays.pop("owners"), self._owner_ids, self.image_of),
            categories=_look_up(arrays.pop("categories"), self._category_ids, places),
            crowds=arrays.pop("crowds").astype(bool),
            merged=arrays.pop("merged").astype(bool),
            outlines=OutlineTable.of(arrays),
            **{name: arrays[name] for name in _AS_READ},
        )


def _look_up(numbers: np.ndarray, ids: dict[Any, int], places: Mapping[Any, int]) -> np.ndarray:
    """Turn numbers of ids into the places that these ids have, -1 for those that have none: (A,) int64."""
    table = np.array([*(places.get(identity, -1) for identity in ids), -1], dtype=np.int64)  # the last is that of number -1
    return table[numbers]


def _number(numbers: dict[Any, int], identity: Any) -> int:
    """Return the number of an id, a new one for one that was not met before; -1 for what is no id."""
    if not isinstance(identity, (int, str)):
        return -1
    return numbers.setdefault(identity, len(numbers))


def _id_number(identity: Any) -> int:
    """Return a number that stands for an annotation's id."""
    if isinstance(identity, int) and -(2**63) <= identity < 2**63:
        return identity
    return hash(identity if isinstance(identity, str) else str(identity))


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
