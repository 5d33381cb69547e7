"""One side of a data set: its images, and what is wrong with them and their annotations."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from engine.errors import ArgumentError
from training.data.audit.annotations import AnnotationChecker, are_numbers
from training.data.audit.duplicates import stop_if
from training.data.audit.stream import walk
from training.data.coco.layout import find_annotations, ignore_ring

_LARGEST_SIDE = 2**31  # pixels; no picture format goes beyond
EXAMPLES = 20  # kept of each fault, in words
DRAWN = 6  # kept of each fault, to be drawn
Place = tuple[str, tuple[tuple[float, float], ...]]

IMAGE_FAULTS = {
    "missing": "names a file that is not there; left out",
    "unreadable": "names a file that is no picture of 8 bit values; left out",
    "outside_folder": "names a file outside the data set's folder, which was not read; left out without --outside-images",
    "wrong_size": "is of another size than the file says; left out",
    "duplicate_image_id": "has the id of another image; left out",
    "duplicate_file": "names the file of another image; left out",
    "malformed_ignore": "has an ignore polygon that is not three points or more; the polygon is left out",
    "malformed_image": "has no id, file name, width or height; left out",
}


@dataclass
class Fault:
    """How often a fault was met, and some examples.

    Attributes:
        count: times.
        examples: in words.
        annotations: index of the image, and the annotation, of those that can be drawn.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)
    annotations: list[tuple[int, dict]] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


@dataclass
class Split:
    """One folder in the MapChallenge layout, and what was found in it.

    Attributes:
        name: ``train`` or ``val``.
        folder: that holds it.
        annotation_file: COCO.
        ids, names, sizes, places: of the images that can be used as far as the file says; a place is a CRS and four corners.
        usable: (N,) bool, which of them are pictures of the size that the file says.
        annotation_counts: (N,) sound annotations of each.
        annotations, crowds, merged: how many the file holds; ``merged`` ones are several objects drawn as one.
        ignored: images with ground that is not labelled.
        classes: annotations by the name of their category.
        faults: by name, those of ``IMAGE_FAULTS`` and ``audit_annotations.FAULTS``.
        blank: images that show nothing to compare.
        drop: (N,) bool, images that a clean copy leaves out.
    """

    name: str
    folder: Path
    annotation_file: Path
    ids: list[Any] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    places: list[Place | None] = field(default_factory=list)
    categories: dict[Any, str] = field(default_factory=dict)
    usable: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    annotation_counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    annotations: int = 0
    crowds: int = 0
    merged: int = 0
    ignored: int = 0
    classes: Counter = field(default_factory=Counter)
    faults: dict[str, Fault] = field(default_factory=dict)
    blank: int = 0
    drop: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def path(self, index: int) -> Path:
        """Return the file of an image."""
        return self.folder / "images" / self.names[index]

    def fault(self, kind: str, example: str) -> None:
        """Count a fault."""
        self.faults.setdefault(kind, Fault()).add(example)

    def checker(self) -> AnnotationChecker:
        """Return a new checker for this file's annotations."""
        return AnnotationChecker(dict(zip(self.ids, self.sizes, strict=True)), set(self.categories))


def read_images(name: str, folder: Path, *, outside: bool = False) -> Split:
    """Read what a file says of its images.

    Args:
        name: of the split.
        folder: that holds it.
        outside: take images outside the folder too.

    Raises:
        ArgumentError: there is no annotation file, or it is not COCO.
    """
    split = Split(name, folder, find_annotations(folder))
    seen_ids: set[Any] = set()
    seen_names: set[str] = set()
    keys = set()
    is_inside = _InsideFolder(folder)
    for key, item in walk(split.annotation_file, {"images", "categories", "annotations"}):
        keys.add(key)
        if item is None or key == "annotations":
            continue
        if key == "categories":
            if isinstance(item, dict) and isinstance(item.get("id"), (int, str)):
                split.categories[item["id"]] = str(item.get("name", item["id"]))
            continue
        entry = _image_entry(item)
        if entry is None:
            split.fault("malformed_image", str(item)[:120])
        elif entry[0] in seen_ids:
            split.fault("duplicate_image_id", f"{entry[1]} (id {entry[0]})")
        elif entry[1] in seen_names:
            split.fault("duplicate_file", f"{entry[1]} (id {entry[0]})")
        elif not outside and not is_inside(entry[1]):
            split.fault("outside_folder", f"{entry[1]} (id {entry[0]})")
        else:
            seen_ids.add(entry[0])
            seen_names.add(entry[1])
            for target, value in zip((split.ids, split.names, split.sizes, split.places), entry, strict=True):
                target.append(value)
            rings, malformed = ignore_rings(item)
            split.ignored += bool(rings)
            for ring in malformed:
                split.fault("malformed_ignore", f"{entry[1]} (id {entry[0]}): {str(ring)[:60]}")
    if not {"images", "annotations"} <= keys:
        raise ArgumentError(
            f"The annotation file {split.annotation_file} has no images or no annotations.", hint="Give a COCO file."
        )
    return split


class _InsideFolder:
    """Tells the images of a data set from files elsewhere, symbolic links followed; ``images`` itself may be one."""

    def __init__(self, folder: Path) -> None:
        self._images = folder / "images"
        self._homes = [os.path.realpath(folder), os.path.realpath(self._images)]
        self._folders: dict[str, str] = {}  # where each leads: there may be hundreds of thousands of images in it

    def __call__(self, name: str) -> bool:
        """Return whether an image lies in the folder."""
        try:
            parent, base = os.path.split(self._images / name)
            if parent not in self._folders:
                self._folders[parent] = os.path.realpath(parent)
            path = os.path.join(self._folders[parent], base)
            real = os.path.realpath(path) if base in ("", ".", "..") or os.path.islink(path) else path
        except (OSError, ValueError):  # no file can have this name
            return False
        return any(os.path.commonpath([home, real]) == home for home in self._homes)


def _image_entry(item: Any) -> tuple[Any, str, tuple[int, int], Place | None] | None:
    if not isinstance(item, dict) or not isinstance(item.get("id"), (int, str)) or not isinstance(item.get("file_name"), str):
        return None
    size = item.get("width"), item.get("height")
    if not all(isinstance(value, int) and 0 < value < _LARGEST_SIDE for value in size):
        return None
    return item["id"], item["file_name"], size, _place(item, size)


def ignore_rings(entry: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the rings around ground of an image that is not labelled, and what stands in their place but is no ring."""
    listed = entry.get("ignore") or []
    sound, malformed = [], []
    for ring in listed if isinstance(listed, list) else [listed]:
        try:
            ignore_ring(ring)
        except ValueError:
            malformed.append(ring)
        else:
            sound.append(ring)
    return sound, malformed


def _place(item: dict, size: tuple[int, int]) -> Place | None:
    """Return where an image lies: the CRS and its corners there; by its affine, since the bounds of a turned one are larger."""
    crs, affine, bounds = item.get("crs"), item.get("transform"), item.get("bounds")
    if not isinstance(crs, str) or not crs:  # pictures without one all begin at 0, 0
        return None
    if are_numbers(affine, 6):
        a, b, c, d, e, f = affine
        corners = [(0, 0), (size[0], 0), size, (0, size[1])]
        return crs, tuple((a * col + b * row + c, d * col + e * row + f) for col, row in corners)
    if are_numbers(bounds, 4):
        left, bottom, right, top = bounds
        return crs, ((left, bottom), (right, bottom), (right, top), (left, top))
    return None


def check_pictures(split: Split, sizes: np.ndarray, unreadable: dict[int, str]) -> None:
    """Compare what the file says of its images with the images: (N, 2) width and height, and why some cannot be read."""
    stated = np.array(split.sizes, dtype=np.int64).reshape(-1, 2)
    split.usable = (sizes == stated).all(axis=1)
    for index in np.flatnonzero(~split.usable).tolist():
        reason = unreadable.get(index)
        if reason is None:
            (width, height), (w, h) = sizes[index], stated[index]
            split.fault("wrong_size", f"{split.names[index]} is {width}x{height}, the file says {w}x{h}")
        else:
            split.fault("missing" if reason == "is not there" else "unreadable", f"{split.names[index]} {reason}")


def check_annotations(split: Split, cancel: Event | None) -> None:
    """Check the annotations one by one."""
    checker = split.checker()
    number_of = {identity: index for index, identity in enumerate(split.ids)}
    split.annotation_counts = np.zeros(len(split.ids), np.int64)
    for _, item in walk(split.annotation_file, {"annotations"}):
        if item is None:
            continue
        split.annotations += 1
        stop_if(cancel)
        checked = checker.check(item)
        if checked.faults:
            index = number_of.get(item.get("image_id")) if isinstance(item, dict) and "no_image" not in checked.faults else None
            where = "" if index is None else f" on {split.names[index]}"
            for kind in checked.faults:
                split.fault(kind, f"annotation {item.get('id') if isinstance(item, dict) else str(item)[:60]}{where}")
            if index is not None and split.usable[index]:
                for fault in (split.faults[kind] for kind in checked.faults):
                    if len(fault.annotations) < DRAWN:
                        fault.annotations.append((index, item))
        if checked.mended is not None:
            split.annotation_counts[number_of[item["image_id"]]] += 1
            split.crowds += bool(item.get("iscrowd"))
            split.merged += bool(item.get("merged"))
            category = item.get("category_id")
            split.classes[split.categories.get(category, f"unknown ({category})")] += 1
