"""The layout of a MapChallenge data set: where its annotation file is, and what that says of an image."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ArgumentError
from training.data.coco.outlines import sound_rings

ANNOTATION_NAMES = ("annotation.json", "annotation-small.json", "annotations.json")
LARGEST_SIDE = 2**31  # pixels; no picture format goes beyond


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One entry of ``images``.

    ``width`` and ``height`` are 0 where the file does not tell them. ``bounds`` (xmin, ymin, xmax, ymax), ``zoom``, ``gsd``
    (metres per pixel), ``place``, ``crs`` and ``affine`` (a, b, c, d, e, f from pixels to the CRS) are there where the file
    tells the ground. ``ignore``, an extension of COCO, are rings (x and y by turns, in pixels) around ground that is not
    labelled.
    """

    id: int | str
    path: Path
    width: int
    height: int
    zoom: int | None = None
    bounds: tuple[float, ...] | None = None
    gsd: float | None = None
    place: str | None = None
    crs: str | None = None
    affine: tuple[float, ...] | None = None
    ignore: tuple[tuple[float, ...], ...] = ()


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


def image_entry(entry: Any, directory: Path) -> CocoImage | None:
    """Understand one entry of ``images``, None if it has no id or ``file_name``; other fields that are wrong are absent."""
    if not isinstance(entry, dict):
        return None
    identity, name = entry.get("id"), entry.get("file_name")
    if not isinstance(identity, (int, str)) or not isinstance(name, str) or not name:
        return None
    zoom, gsd, crs = entry.get("zoom"), _numbers([entry.get("gsd")], 1), entry.get("crs")
    return CocoImage(
        id=identity,
        path=directory / name,
        width=_side(entry.get("width")),
        height=_side(entry.get("height")),
        zoom=zoom if isinstance(zoom, int) and 0 <= zoom < 64 else None,
        bounds=_numbers(entry.get("bounds"), 4),
        gsd=gsd[0] if gsd and gsd[0] > 0 else None,
        place=str(entry["place"]) if entry.get("place") else None,
        crs=sys.intern(crs) if isinstance(crs, str) and crs else None,
        affine=_numbers(entry.get("transform"), 6),
        ignore=tuple(tuple(map(float, ring)) for ring in ignore_rings(entry)[0]),
    )


def ignore_rings(entry: dict[str, Any]) -> tuple[list[list[float]], list[Any]]:
    """Return the rings around ground of an image that is not labelled, and what stands in their place but is no ring."""
    listed = entry.get("ignore") or []
    return sound_rings(listed) if isinstance(listed, list) else ([], [listed])


def _side(value: Any) -> int:
    """Return a side in pixels, 0 where it is none."""
    known = isinstance(value, (int, float)) and 0 < value < LARGEST_SIDE and value == int(value)
    return int(value) if known else 0


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """Return so many finite numbers, None where they are not."""
    try:
        numbers = tuple(float(value) for value in values) if isinstance(values, list) else ()
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


class InsideFolder:
    """Tells the images of a data set from files elsewhere, symbolic links followed; ``images`` itself may be one.

    Args:
        folder: of the data set.
    """

    def __init__(self, folder: Path) -> None:
        self._homes = [os.path.realpath(folder), os.path.realpath(folder / "images")]
        self._folders: dict[str, str] = {}  # where each leads: there may be hundreds of thousands of images in it

    def __call__(self, path: Path) -> bool:
        """Return whether an image lies in the folder."""
        try:
            parent, base = os.path.split(path)
            if parent not in self._folders:
                self._folders[parent] = os.path.realpath(parent)
            path = os.path.join(self._folders[parent], base)
            real = os.path.realpath(path) if base in ("", ".", "..") or os.path.islink(path) else path
        except (OSError, ValueError):  # no file can have this name
            return False
        return any(os.path.commonpath([home, real]) == home for home in self._homes)
