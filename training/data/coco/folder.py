"""Reading data sets in the MapChallenge layout: ``images/`` and ``annotation.json`` in COCO format.

Two extensions say where labels are not to be believed: ``"ignore"`` of an image lists rings around ground that nobody
labelled, ``"merged": 1`` of an annotation marks several buildings drawn as one. Both, and COCO's ``iscrowd``, are regions:
nothing in them is learned as an instance or counted for or against a detection.

What is wrong with a file is repaired, left out or refused as ``faults.py`` says. Of ``segmentation``, ``bbox`` and ``area`` the
first alone is believed. Polygons become pixels by the rule that a pixel belongs to a polygon where its centre lies inside;
annotations that cover no pixel centre are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pycocotools import mask as run_lengths

from training.data.coco.checks import read_checked
from training.data.coco.image_files import read_rgb
from training.data.coco.index import ImageTable, stretch
from training.data.coco.layout import CocoImage, find_annotations
from training.data.coco.outlines import polygon_of_rings
from training.data.rasterize import outline_of_mask, rasterize_masks
from training.data.sample import Sample
from training.data.shared_array import SharedArray

log = logging.getLogger(__name__)

_NAMED = 5  # images that are named among those left out


@dataclass(frozen=True, eq=False)
class Outlines:
    """The annotated outlines of an image.

    Attributes:
        polygons: (N,) in pixels.
        labels: (N,) int64, class indices.
        crowd: (N,) bool, regions rather than instances.
        merged: (N,) bool, the regions that are several instances drawn as one.
    """

    polygons: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    merged: np.ndarray

    def sample(self, image: np.ndarray, masks: np.ndarray, seen: np.ndarray, *, name: str) -> Sample:
        """Make a sample of those that an image shows: ``seen`` (K,) are their numbers, ``masks`` (K, H, W) their pixels."""
        return Sample(image, masks, name, self.crowd[seen], self.labels[seen], self.merged[seen])


class CocoFolder(Sequence[Sample]):
    """A folder of images with COCO annotations; images are read when they are asked for.

    Args:
        folder: holds ``images/`` and ``annotation.json``.
        images: another place for the images.
        annotations: another file of annotations.
        complete: refuse a folder of which an image cannot be used; otherwise a few are left out and counted.

    Attributes:
        annotation_file: that was read.
        classes: names of the categories, in order of their ids.
        licence: of the images, where the file names one.
        repairs: what was repaired or left out, in words, and how often.

    Raises:
        ArgumentError: there is no annotation file, or it is not COCO, or has a fault that is refused.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        complete: bool = False,
    ) -> None:
        folder = Path(folder)
        file = Path(annotations) if annotations is not None else find_annotations(folder)
        self._open(file, Path(images) if images is not None else folder / "images", complete=complete)

    def _open(self, file: Path, directory: Path, *, complete: bool, entries: Iterable[tuple[str, Any]] | None = None) -> None:
        """Read a file whose images lie in a directory; ``entries`` as `CocoReader` has them."""
        self.annotation_file, self._directory = file, directory
        use = "evaluation" if complete else "training"
        reader, checked = read_checked(file, directory, use, entries=entries)
        for number, reason in islice(checked.reasons.items(), _NAMED):
            log.warning("%s (id %s) is left out: it %s.", reader.images[number].path, reader.images[number].id, reason)
        self.repairs = {f"{self.annotation_file}: {what}": count for what, count in reader.faults.done(use).items()}
        annotations = reader.annotations
        self.classes, self.licence = reader.classes, reader.licence
        self._table = ImageTable.of(reader.images, reader.names)
        self._outlines = annotations.outlines.narrow()
        self._images = SharedArray(np.flatnonzero(checked.usable))
        rows = np.flatnonzero(checked.kept)
        rows = rows[np.argsort(annotations.owners[rows], kind="stable")]  # by image, then in the order of the file
        self._objects = SharedArray(rows)
        self._object_ends = SharedArray(np.searchsorted(annotations.owners[rows], np.arange(len(reader.images)), side="right"))
        self._labels = SharedArray(annotations.categories)
        self._crowds = SharedArray(annotations.crowds)
        self._merged = SharedArray(annotations.merged)

    def __len__(self) -> int:
        return len(self._images.values)

    def __getitem__(self, index: int) -> Sample:
        entry = self.image(index)
        outlines = self.outlines(index)
        masks, seen = rasterize_masks(outlines.polygons, entry.height, entry.width)
        return outlines.sample(self.pixels(index), masks, seen, name=entry.path.name)

    def part(self, numbers: Sequence[int]) -> CocoFolder:
        """Return the same folder with some of its images alone."""
        part = copy(self)
        part._images = SharedArray(self._images.values[np.asarray(numbers, dtype=np.int64)])
        return part

    def image(self, index: int) -> CocoImage:
        """Return what the file says of an image."""
        return self._table.image(int(self._images.values[index]), self._directory)

    def paths(self) -> list[Path]:
        """Return the files of all images."""
        return [self._directory / name.decode() for name in self._table.names.values[self._images.values]]

    @property
    def gsd(self) -> float | None:
        """Metres per pixel, where the file says it of all images and they are the same within 2 %."""
        known = self._table.gsds.values[self._images.values]
        middle = float(np.median(known)) if len(known) else np.nan
        return middle if (np.abs(known - middle) <= 0.02 * middle).all() and np.isfinite(middle) else None

    def pixels(self, index: int) -> np.ndarray:
        """Read an image: (H, W, 3) uint8 RGB.

        Raises:
            ArgumentError: it cannot be read, or is no longer of the size that the file says.
        """
        return read_rgb(self.image(index))

    def rows(self, index: int) -> np.ndarray:
        """Return the annotations of one image that are used, by their places in the file: (N,) int64."""
        return self._objects.values[slice(*stretch(self._object_ends.values, int(self._images.values[index])))]

    def outlines(self, index: int) -> Outlines:
        """Return the outlines of one image in its pixels.

        Those of run lengths follow the edges of their pixels, so that burning them gives the same pixels again.
        """
        numbers = self.rows(index)
        entry = self.image(index)
        polygons = np.array([self._polygon(number, entry) for number in numbers], dtype=object)
        merged = self._merged.values[numbers]
        labels, crowd = self._labels.values[numbers], self._crowds.values[numbers] | merged
        if entry.ignore:
            # One region: a detection across two adjacent rings lies on both together.
            polygons = np.append(polygons, polygon_of_rings(entry.ignore))
            labels, crowd, merged = np.append(labels, 0), np.append(crowd, True), np.append(merged, False)
        drawn = ~shapely.is_empty(polygons) if len(polygons) else np.zeros(0, dtype=bool)
        return Outlines(polygons[drawn], labels[drawn], crowd[drawn], merged[drawn])

    def _polygon(self, number: int, entry: CocoImage) -> shapely.Geometry:
        runs = self._outlines.run_lengths(number)
        if not runs:
            return polygon_of_rings(self._outlines.rings(number))
        return outline_of_mask(run_lengths.decode({"size": [entry.height, entry.width], "counts": runs}))
