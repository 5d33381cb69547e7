"""The layout of a MapChallenge data set: where its annotation file is, and what that says of an image."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ArgumentError
from engine.files.input_file import refuse_special

ANNOTATION_NAMES = ("annotation.json", "annotation-small.json", "annotations.json")


@dataclass(frozen=True)
class CocoImage:
    """One entry of ``images``.

    ``bounds`` (xmin, ymin, xmax, ymax), ``zoom``, ``gsd`` (metres per pixel) and ``place`` are there where the file tells the
    ground. ``ignore``, an extension of COCO, are rings (x and y by turns, in pixels) around ground that is not labelled.
    """

    id: int | str
    path: Path
    width: int
    height: int
    zoom: int | None = None
    bounds: tuple[float, float, float, float] | None = None
    gsd: float | None = None
    place: str | None = None
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


def read_coco(path: Path) -> dict:
    """Read a COCO file as it is.

    Raises:
        ArgumentError: it cannot be read, or has no images or annotations.
    """
    refuse_special(path, what="The annotation file", error=ArgumentError)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise ArgumentError(f"The annotation file {path} cannot be read: {error}.", hint="Give a COCO file.") from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ArgumentError(f"The annotation file {path} has no images or no annotations.", hint="Give a COCO file.")
    return content


def image_entry(entry: dict, directory: Path, source: Path) -> CocoImage:
    """Understand one entry of ``images``; ``source`` is the file that it stands in.

    Raises:
        ArgumentError: something is missing, or no number.
    """
    try:
        bounds = tuple(float(value) for value in entry["bounds"]) if entry.get("bounds") else None
        zoom, gsd = entry.get("zoom"), float(entry.get("gsd") or 0)
        return CocoImage(
            id=entry["id"],
            path=directory / entry["file_name"],
            width=int(entry["width"]),
            height=int(entry["height"]),
            zoom=zoom if isinstance(zoom, int) and 0 <= zoom < 64 else None,
            bounds=bounds if bounds is not None and len(bounds) == 4 else None,
            gsd=gsd if 0 < gsd < math.inf else None,
            place=str(entry["place"]) if entry.get("place") else None,
            ignore=tuple(ignore_ring(ring) for ring in entry.get("ignore") or ()),
        )
    except KeyError as error:
        raise ArgumentError(f"An image in {source} has no {error}.", hint="Give a COCO file.") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(
            f"The image {entry.get('id')} in {source} cannot be understood: {error}.", hint="Give a COCO file."
        ) from error


def ignore_ring(ring: Any) -> tuple[float, ...]:
    """Read a ring of an image's ``ignore``.

    Raises:
        ValueError: it is not three points or more.
    """
    try:
        numbers = tuple(float(number) for number in ring) if isinstance(ring, list) else ()
    except (TypeError, ValueError, OverflowError):  # something in it is no number
        numbers = ()
    if len(numbers) < 6 or len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a ring of its 'ignore' is {str(ring)[:60]}, not three points or more")
    return numbers
