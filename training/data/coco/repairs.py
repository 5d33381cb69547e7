"""Decide what of a COCO file can be trained on: repair what needs no guess and count it, refuse the rest by name.

Faults of annotations have the names that ``maskdino audit-dataset`` gives them. Here they are looked for in all outlines at
once rather than one by one, so that a training on 100,000 images begins in seconds. Rings that cross themselves are mended
when they are drawn, and not counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.errors import ArgumentError
from training.data.audit.annotations import BORDER_TOLERANCE, BOX_TOLERANCE, FAULTS
from training.data.coco.image_files import ImageFile, look_at_files
from training.data.coco.reader import CocoReader

log = logging.getLogger(__name__)

_FEW = 0.1  # share of images that may be unusable; more are no accident, but the wrong folder
_NAMED = 5  # images that are named among those left out
_BLOCK = 1 << 18  # outlines that are measured at once

REPAIRS = {
    **{kind: f"an annotation {sentence}" for kind, sentence in FAULTS.items()},
    "unknown_category": "an annotation has a category that the file does not list; left out",
    "malformed_ring": "an annotation has a ring that is no list of points; the ring is left out",
    "image_twice": "an image is listed twice; taken once",
    "file_twice": "a file is listed under two ids; their annotations are put together",
    "unusable": "an image is missing, broken or of another size than the file says; left out",
    "no_size": "an image has no size in the file; measured",
    "swapped_sides": "an image has width and height the other way round in the file; measured",
    "grey": "an image is grey or has a palette; turned into red, green and blue",
    "transparent": "an image has transparency; taken as if it had none",
}


class Measures(NamedTuple):
    """Of R outlines: left, top, right, bottom (R, 4); area and perimeter (R,) as if no rings overlapped, 0 of runs."""

    bounds: np.ndarray
    areas: np.ndarray
    lengths: np.ndarray


def settle_images(reader: CocoReader, bounds: np.ndarray, owners: np.ndarray, *, complete: bool) -> np.ndarray:
    """Compare the images of a file with their files, and repair the sizes of ``reader.images``.

    Args:
        reader: is changed.
        bounds: (R, 4) left, top, right and bottom of each annotation's outline.
        owners: (R,) index of each annotation's image, -1 where there is none.
        complete: refuse to leave any image out.

    Returns:
        (I,) bool, which images can be used.

    Raises:
        ArgumentError: too many cannot be used; it names one.
    """
    reach = np.zeros((len(reader.images), 2))  # as far as outlines go
    np.maximum.at(reach, owners[owners >= 0], bounds[owners >= 0, 2:])
    files = look_at_files([image.path for image in reader.images])
    usable = np.ones(len(files), dtype=bool)
    reasons = []
    for index, file in enumerate(files):
        reason = file.fault or _settle_size(reader, index, file, reach[index])
        if reason:
            usable[index] = False
            reasons.append((index, reason))
        elif file.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
            reader.faults["transparent"] += 1
        elif file.mode != "RGB":
            reader.faults["grey"] += 1
    if len(reasons) > (0 if complete else _FEW * len(files)):
        index, reason = reasons[0]
        image = reader.images[index]
        raise ArgumentError(
            f"{len(reasons)} of the {len(files)} images in {reader.file} cannot be used, first {image.path} (id {image.id}): "
            f"it {reason}.",
            hint="Bring back the images that the annotations were made for, or take the entries out of the annotation file.",
        )
    for index, reason in reasons[:_NAMED]:
        log.warning("%s (id %s) is left out: it %s.", reader.images[index].path, reader.images[index].id, reason)
    reader.faults["unusable"] += len(reasons)
    return usable


def _settle_size(reader: CocoReader, index: int, file: ImageFile, reach: np.ndarray) -> str:
    """Correct a wrong size where there is no doubt; return what is wrong otherwise."""
    image = reader.images[index]
    stated, found = (image.width, image.height), (file.width, file.height)
    if stated == found:
        return ""
    fits, fits_stated = ((reach <= np.array(size) + BORDER_TOLERANCE).all() for size in (found, stated))
    if 0 in stated and fits:
        repair = "no_size"
    elif stated == found[::-1] and fits and not (fits_stated and reach.any()):
        repair = "swapped_sides"
    else:
        # Scaled, cut, turned? The outlines would be somewhere else.
        return f"is {file.width}x{file.height} pixels, its annotation says {image.width}x{image.height}"
    reader.images[index] = replace(image, width=file.width, height=file.height)
    reader.faults[repair] += 1
    return ""


def settle_annotations(
    reader: CocoReader, columns: dict[str, np.ndarray], measures: Measures, owners: np.ndarray, categories: np.ndarray
) -> np.ndarray:
    """Find the annotations that can be learned from, and count the faults of all.

    Args:
        reader: its faults are counted up.
        columns: of the reader.
        measures: of the annotations' outlines.
        owners, categories: (R,) index of each annotation's image and class, -1 where there is none.

    Returns:
        (K,) int64, the numbers of those, by image and then in the order of the file.
    """
    faults = reader.faults
    bounds, areas, lengths = measures
    sizes = np.array([*((image.width, image.height) for image in reader.images), (0, 0)], dtype=float)
    size = sizes[owners]  # the last one is that of no image, -1
    runs = np.zeros(len(owners), dtype=bool)
    runs[columns["run_numbers"]] = True
    homeless = owners < 0
    alien = ~homeless & (categories < 0)
    misfit = np.zeros(len(owners), dtype=bool)
    misfit[columns["run_numbers"]] = (columns["run_sizes"][:, ::-1] != size[columns["run_numbers"]]).any(axis=1)
    misfit &= ~homeless
    flat = (bounds[:, 2:] <= bounds[:, :2]).any(axis=1)
    outside = ((bounds[:, 2:] <= 0) | (bounds[:, :2] >= size)).any(axis=1) & ~flat & ~homeless
    kept = ~(homeless | alien | misfit | flat | outside)
    over = np.maximum(-bounds[:, :2], bounds[:, 2:] - size).max(axis=1) > BORDER_TOLERANCE

    # What lies on the same image and measures the same in every way is the same.
    traits = (*bounds.T, areas, lengths, columns["crowds"], categories, owners, ~kept)
    order = np.lexsort(traits)
    again = np.zeros(len(kept), dtype=bool)
    again[order[1:]] = np.logical_and.reduce([trait[order[1:]] == trait[order[:-1]] for trait in traits])
    again &= kept
    kept &= ~again

    wrong_box = ~(np.abs(columns["stated_boxes"] - _sizes(bounds)) <= BOX_TOLERANCE).all(axis=1)
    wrong_area = ~(np.abs(columns["stated_areas"] - areas) <= 2 + lengths / 2)
    for kind, found in {
        "no_image": homeless, "unknown_category": alien, "malformed": misfit, "no_area": flat & ~homeless, "outside": outside,
        "repeated": again, "beyond": over & kept & ~runs, "wrong_box": wrong_box & kept, "wrong_area": wrong_area & kept,
    }.items():  # fmt: skip
        faults[kind] += int(found.sum())
    numbers = np.flatnonzero(kept)
    return numbers[np.argsort(owners[numbers], kind="stable")]


def measure(columns: dict[str, np.ndarray]) -> Measures:
    """Measure the outlines of a reader's columns."""
    count = len(columns["ring_ends"])
    bounds, areas, lengths = np.zeros((count, 4)), np.zeros(count), np.zeros(count)
    runs, boxes = columns["run_numbers"], columns["run_boxes"]
    bounds[runs, :2], bounds[runs, 2:] = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas[runs] = columns["run_areas"]
    ring_ends, point_ends = columns["ring_ends"], columns["point_ends"]
    ring_starts, point_starts = np.append(0, ring_ends)[:-1], np.append(0, point_ends)[:-1]
    for start in range(0, count, _BLOCK):
        objects = np.arange(start, min(start + _BLOCK, count))
        objects = objects[ring_ends[objects] > ring_starts[objects]]
        if not len(objects):
            continue
        first, last = ring_starts[objects[0]], ring_ends[objects[-1]]
        begin, end = point_starts[first], point_ends[last - 1]
        points = columns["points"][begin:end].astype(float)
        starts = point_starts[first:last] - begin
        after = np.arange(1, len(points) + 1)
        after[point_ends[first:last] - begin - 1] = starts
        step = points[after] - points
        cross = points[:, 0] * points[after, 1] - points[:, 1] * points[after, 0]
        of_object = ring_starts[objects] - first
        areas[objects] = np.add.reduceat(np.abs(np.add.reduceat(cross, starts)) / 2, of_object)
        lengths[objects] = np.add.reduceat(np.add.reduceat(np.hypot(*step.T), starts), of_object)
        corners = starts[of_object]  # objects follow one another without a gap
        bounds[objects, :2] = np.minimum.reduceat(points, corners)
        bounds[objects, 2:] = np.maximum.reduceat(points, corners)
    return Measures(bounds, areas, lengths)


def describe_repairs(file: Path, faults: Counter[str]) -> dict[str, int]:
    """Say in words what was met in a file, and how often."""
    return {f"{file}: {REPAIRS[kind]}": count for kind, count in sorted(faults.items()) if count}


def _sizes(bounds: np.ndarray) -> np.ndarray:
    return np.concatenate([bounds[:, :2], bounds[:, 2:] - bounds[:, :2]], axis=1)
