"""Look for the faults of ``faults.py`` in what was read of a COCO file, and decide what of it is used.

Outlines are measured a block at a time rather than one by one, so that a training on 100,000 images begins in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from engine.errors import ArgumentError
from training.data.coco.faults import FAULTS, TINY, Use
from training.data.coco.image_files import ImageFile, look_at_files
from training.data.coco.index import OutlineTable
from training.data.coco.outlines import DECIMALS, snapped
from training.data.coco.reader import Annotations, CocoReader

BOX_TOLERANCE = 1.0  # pixels; many programs round boxes
BORDER_TOLERANCE = 0.5  # pixels; many programs count the last pixel's far side
_NARROWEST = 2 * 10.0**-DECIMALS  # pixels; what is narrower can vanish when its coordinates are written
_FARTHEST = 1e12  # pixels; stands for the border of an image of unknown size
_FEW = 0.1  # share of images that may be unusable; more are no accident, but the wrong folder
_BLOCK = 1 << 14  # outlines that are measured at once


@dataclass(frozen=True, eq=False)
class Measures:
    """Of A annotations, 0 where there is no outline.

    Attributes:
        bounds: (A, 4) left, top, right, bottom.
        areas, lengths: (A,) of what their rings cover together; of run lengths the area alone.
        crossing: (A,) bool, a ring crosses itself.
        keys: (A,) uint64, the same for outlines with the same edges, to a hundredth of a pixel.
    """

    bounds: np.ndarray
    areas: np.ndarray
    lengths: np.ndarray
    crossing: np.ndarray
    keys: np.ndarray


@dataclass(frozen=True, eq=False)
class Checked:
    """What of a file is used.

    Attributes:
        usable: (I,) bool, images; ``reasons`` says why others are not, by number.
        kept: (A,) bool, annotations.
        rows: the annotations with each fault, by its name.
        measures: of the annotations.
    """

    usable: np.ndarray
    reasons: dict[int, str]
    kept: np.ndarray
    rows: dict[str, np.ndarray]
    measures: Measures

    def has(self, *faults: str) -> np.ndarray:
        """Return which annotations have one of some faults: (A,) bool."""
        found = np.zeros(len(self.kept), dtype=bool)
        for fault in faults:
            found[self.rows[fault]] = True
        return found


def read_checked(
    file: Path, folder: Path, use: Use, *, entries: Iterable[tuple[str, Any]] | None = None
) -> tuple[CocoReader, Checked]:
    """Read a file whose images lie in ``folder`` for a training or an evaluation; ``entries`` as `CocoReader` has them.

    Raises:
        ArgumentError: it is not COCO, or has a fault that is refused; an evaluation is without an image, a training without
            more than a few; no annotation is left.
    """
    reader = CocoReader(file, folder, entries=entries)
    reader.faults.refuse(file, use)
    checked = check(reader, look_at_files([image.path for image in reader.images]))
    count, missing = len(reader.images), len(checked.reasons)
    if missing > (_FEW * count if use == "training" else 0):
        number, reason = next(iter(checked.reasons.items()))
        raise ArgumentError(
            f"{missing} of the {count} images in {file} cannot be used, first {reader.images[number].path} "
            f"(id {reader.images[number].id}): it {reason}.",
            hint="Bring back the images that the annotations were made for, or take the entries out of the annotation file.",
        )
    if len(checked.kept) and not checked.kept.any():
        raise ArgumentError(
            f"None of the {len(checked.kept)} annotations in {file} can be used: {'; '.join(reader.faults.done(use))}.",
            hint="`maskdino audit-dataset` says what is wrong with each.",
        )
    return reader, checked


def check(reader: CocoReader, files: Sequence[ImageFile]) -> Checked:
    """Find the faults of a file's images and annotations, and count them in ``reader.faults``.

    Sizes of images that the file does not tell, or tells the wrong way round, are repaired in ``reader.images`` where the
    outlines leave no doubt.

    Args:
        reader: is changed.
        files: what was seen of its images.
    """
    measures = _measure(reader.annotations)
    usable, reasons = _check_images(reader, files, measures.bounds)
    kept, rows = _check_annotations(reader, measures)
    for name, found in rows.items():
        reader.faults.add_rows(name, found, reader.annotation_name)
    return Checked(usable, reasons, kept, rows, measures)


def repeated(annotations: Annotations, keys: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return which annotations have image, class and outline of an earlier one: (A,) bool; only ``kept`` ones count."""
    kinds = annotations.crowds + 2 * annotations.merged
    rows = np.flatnonzero(kept)
    traits = [trait[rows] for trait in (keys, annotations.owners, annotations.categories, kinds)]
    order = np.lexsort(traits)
    same = np.logical_and.reduce([trait[order[1:]] == trait[order[:-1]] for trait in traits])
    again = np.zeros(len(kept), dtype=bool)
    again[rows[order[1:][same]]] = True
    return again


def edge_keys(points: np.ndarray, ring_lengths: np.ndarray, object_starts: np.ndarray) -> np.ndarray:
    """Return a number for each object's set of edges: (N,) uint64, wherever its rings begin and whichever way they go round.

    Args:
        points: (P, 2) of all rings.
        ring_lengths: (R,) points of each ring.
        object_starts: (N,) the first point of each object.
    """
    rounded = np.rint(points * 10**DECIMALS).astype(np.int64).view(np.uint64)
    corners = _mix(rounded[:, 0] * np.uint64(0x9E3779B97F4A7C15) + _mix(rounded[:, 1]))
    following = corners[_following(ring_lengths)]
    edges = np.where(corners == following, np.uint64(0), _mix(corners + following))  # a ring may say its first point again
    return np.add.reduceat(edges, object_starts)


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Spread the bits of uint64 numbers (the finalizer of SplitMix64; Steele, Lea and Flood 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _measure(annotations: Annotations) -> Measures:
    count, outlines = len(annotations), annotations.outlines
    measures = Measures(
        np.zeros((count, 4)), np.zeros(count), np.zeros(count), np.zeros(count, dtype=bool), np.zeros(count, dtype=np.uint64)
    )
    runs, boxes = annotations.run_rows, annotations.run_boxes
    measures.bounds[runs, :2], measures.bounds[runs, 2:] = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    measures.areas[runs] = annotations.run_areas
    measures.keys[runs] = np.array([hash(outlines.run_lengths(row)) % 2**64 for row in runs.tolist()], dtype=np.uint64)
    ring_ends, point_ends = outlines.ring_ends.values, outlines.point_ends.values
    with_rings = np.flatnonzero(np.diff(ring_ends, prepend=0))
    for start in range(0, len(with_rings), _BLOCK):
        rows = with_rings[start : start + _BLOCK]
        # Objects follow one another; those between them have no rings.
        first, last = (int(ring_ends[rows[0] - 1]) if rows[0] else 0), int(ring_ends[rows[-1]])
        begin = int(point_ends[first - 1]) if first else 0
        ends = point_ends[first:last] - begin
        ring_starts, ring_lengths = np.append(0, ends[:-1]), np.diff(ends, prepend=0)
        first_rings = np.append(first, ring_ends[rows[:-1]]) - first
        points = snapped(outlines.points.values[begin : begin + int(ends[-1])])
        corners = ring_starts[first_rings]
        measures.bounds[rows, :2] = np.minimum.reduceat(points, corners)
        measures.bounds[rows, 2:] = np.maximum.reduceat(points, corners)
        measures.keys[rows] = edge_keys(points, ring_lengths, corners)
        after = _following(ring_lengths)
        cross = points[:, 0] * points[after, 1] - points[:, 1] * points[after, 0]
        measures.areas[rows] = np.abs(np.add.reduceat(cross, corners)) / 2
        measures.lengths[rows] = np.add.reduceat(np.hypot(*(points[after] - points).T), corners)
        rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(ends)), ring_lengths))
        measures.crossing[rows] = ~np.logical_and.reduceat(shapely.is_valid(rings), first_rings)
        # What rings cover that overlap, or cross themselves, is no sum; of several, who says the sum is not wrong either.
        several = np.diff(np.append(first_rings, len(ends))) > 1
        joined = rows[
            measures.crossing[rows]
            | (several & _is_wrong_area(annotations.areas[rows], measures.areas[rows], measures.lengths[rows]))
        ]
        polygons = outlines.polygons(joined)
        measures.areas[joined], measures.lengths[joined] = shapely.area(polygons), shapely.length(polygons)
    return measures


def _is_wrong_area(areas: np.ndarray, measured: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Compare areas: many programs count pixels, which is off by up to half the perimeter."""
    return ~(np.abs(areas - measured) <= 2 + lengths / 2)


def _following(lengths: np.ndarray) -> np.ndarray:
    """Return the number of the point that follows each in its ring."""
    after, ends = np.arange(1, lengths.sum() + 1), np.cumsum(lengths)
    after[ends - 1] = ends - lengths
    return after


def _check_images(reader: CocoReader, files: Sequence[ImageFile], bounds: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    owners = reader.annotations.owners
    reach = np.zeros((len(reader.images), 2))  # as far as outlines go
    np.maximum.at(reach, owners[owners >= 0], bounds[owners >= 0, 2:])
    reasons: dict[int, str] = {}
    for number, file in enumerate(files):
        name, words = file.fault, file.words
        if file.usable and number not in reader.two_files:
            if name:
                reader.faults.add(name, f"{reader.image_name(number)} {words}")
            name, words = _check_size(reader, number, file, reach[number])
        if name:
            reader.faults.add(name, f"{reader.image_name(number)} {words}")
        if number in reader.two_files:
            reasons[number] = FAULTS["two_files"].what
        elif name in ("missing", "unreadable", "outside_folder", "wrong_size"):
            reasons[number] = words
    usable = np.ones(len(files), dtype=bool)
    usable[list(reasons)] = False
    return usable, reasons


def _check_size(reader: CocoReader, number: int, file: ImageFile, reach: np.ndarray) -> tuple[str, str]:
    """Correct a wrong size where there is no doubt; return the fault and what it is, in words."""
    image = reader.images[number]
    stated, found = (image.width, image.height), (file.width, file.height)
    if stated == found:
        return "", ""
    fits, fits_stated = ((reach <= np.array(size) + BORDER_TOLERANCE).all() for size in (found, stated))
    words = f"is {file.width}x{file.height} pixels, its annotation says {image.width}x{image.height}"
    if 0 in stated and fits:
        fault = "no_size"
    elif stated == found[::-1] and fits and not (fits_stated and reach.any()):
        fault = "swapped_sides"
    else:
        return "wrong_size", words  # scaled, cut, turned? The outlines would be somewhere else
    reader.images[number] = replace(image, width=file.width, height=file.height)
    return fault, words


def _check_annotations(reader: CocoReader, measures: Measures) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return which annotations are used, and those with each fault. One that is left out has one reason for that."""
    annotations, bounds = reader.annotations, measures.bounds
    sizes = np.array([*((image.width, image.height) for image in reader.images), (0, 0)], dtype=float)
    sizes[sizes == 0] = np.inf  # not known: nothing is outside
    size = sizes[annotations.owners]  # the last one is that of no image, -1
    runs = np.zeros(len(annotations), dtype=bool)
    runs[annotations.run_rows] = True
    broken = {name: np.array(rows, dtype=np.int64) for name, rows in reader.row_faults.items()}
    run_size = size[annotations.run_rows]
    other_size = (np.isfinite(run_size) & (annotations.run_sizes[:, ::-1] != run_size)).any(axis=1)
    over = np.maximum(-bounds[:, :2], bounds[:, 2:] - size).max(axis=1) > BORDER_TOLERANCE
    kept = np.ones(len(annotations), dtype=bool)
    found: dict[str, np.ndarray] = {}

    def leave_out(name: str, rows: np.ndarray) -> None:
        found[name] = rows[kept[rows]]
        kept[rows] = False

    leave_out("no_image", np.flatnonzero(annotations.owners < 0))
    leave_out("unknown_category", np.flatnonzero(annotations.categories < 0))
    leave_out("no_outline", broken["no_outline"])
    leave_out("malformed", np.append(broken["malformed"], annotations.run_rows[other_size]))
    leave_out("no_area", np.flatnonzero(_is_nothing(measures.areas, measures.lengths)))
    outside = ((bounds[:, 2:] <= 0) | (bounds[:, :2] >= size)).any(axis=1)
    outside[_out_of_sight(annotations.outlines, np.flatnonzero(kept & over & ~outside & ~runs), size)] = True
    leave_out("outside", np.flatnonzero(outside))
    leave_out("repeated", np.flatnonzero(repeated(annotations, measures.keys, kept)))

    wrong_box = ~(np.abs(annotations.boxes[:, :2] - bounds[:, :2]) <= BOX_TOLERANCE).all(axis=1)
    wrong_box |= ~(np.abs(annotations.boxes[:, 2:] - (bounds[:, 2:] - bounds[:, :2])) <= BOX_TOLERANCE).all(axis=1)
    wrong_area = _is_wrong_area(annotations.areas, measures.areas, measures.lengths)
    again = np.ones(len(annotations), dtype=bool)
    again[np.unique(annotations.ids, return_index=True)[1]] = False
    has = {
        "crossing": measures.crossing, "beyond": over & ~runs, "wrong_box": wrong_box, "wrong_area": wrong_area,
        "tiny": measures.areas < TINY,
    }  # fmt: skip
    found |= {name: np.flatnonzero(kept & which) for name, which in has.items()}
    found["malformed_ring"] = broken["malformed_ring"][kept[broken["malformed_ring"]]]
    found["duplicate_id"] = np.flatnonzero(again)
    return kept, found


def _out_of_sight(outlines: OutlineTable, rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return those of some outlines of which nothing lies in the image, though their bounds reach into it."""
    found = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        images = shapely.box(0, 0, *np.minimum(size[part], _FARTHEST).T)
        inside = shapely.intersection(outlines.polygons(part), images)
        found.append(part[_is_nothing(shapely.area(inside), shapely.length(inside))])
    return np.concatenate(found)


def _is_nothing(areas: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return which outlines are no wider than the precision of coordinates; the mean width is twice the area per length."""
    return 2 * areas <= _NARROWEST * lengths
