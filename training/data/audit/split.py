"""One side of a data set: its images, and what is wrong with them and their annotations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np

from training.data.audit.duplicates import stop_if
from training.data.coco.checks import Checked, check, edge_keys, repeated
from training.data.coco.faults import Faults
from training.data.coco.image_files import ImageFile
from training.data.coco.layout import CocoImage, InsideFolder, find_annotations
from training.data.coco.outlines import mended_rings
from training.data.coco.reader import CocoReader

Place = tuple[str, tuple[tuple[float, float], ...]]


@dataclass
class Split:
    """One folder in the MapChallenge layout, and what was found in it; N images.

    Attributes:
        name: ``train`` or ``val``.
        folder: that holds it.
        reader: of its annotation file.
        outside: (N,) bool, images outside the folder, which are not to be read.
        files: what was seen of the images.
        checked: what of it training would use.
        kept: (A,) bool, annotations of a clean copy.
        mended: (A,) bool, those of which a clean copy has another outline.
        blank: images that show nothing to compare.
        drop: (N,) bool, images that a clean copy leaves out.
    """

    name: str
    folder: Path
    reader: CocoReader
    outside: np.ndarray
    files: list[ImageFile] = field(default_factory=list)
    checked: Checked | None = None
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    mended: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    blank: int = 0
    drop: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def names(self) -> list[str]:
        """Files of the images."""
        return self.reader.names

    @property
    def faults(self) -> Faults:
        """What is wrong, by the names of ``coco.faults.FAULTS``."""
        return self.reader.faults

    @property
    def usable(self) -> np.ndarray:
        """Which images training would use: (N,) bool."""
        return self.checked.usable

    @property
    def annotation_counts(self) -> np.ndarray:
        """Sound annotations of each image: (N,) int64."""
        return np.bincount(self.reader.annotations.owners[self.kept], minlength=len(self.names))

    @property
    def crowds(self) -> int:
        """How many sound annotations are COCO's crowds."""
        return int(self.reader.annotations.crowds[self.kept].sum())

    @property
    def merged(self) -> int:
        """How many sound annotations are several objects drawn as one."""
        return int(self.reader.annotations.merged[self.kept].sum())

    @property
    def ignored(self) -> int:
        """How many images have ground that is not labelled."""
        return sum(bool(image.ignore) for image in self.reader.images)

    @property
    def classes(self) -> Counter[str]:
        """Sound annotations by the name of their category."""
        counts = np.bincount(self.reader.annotations.categories[self.kept], minlength=len(self.reader.classes))
        return Counter({name: count for name, count in zip(self.reader.classes, counts.tolist(), strict=True) if count})

    @property
    def places(self) -> list[Place | None]:
        """Where each image lies, if the file tells it."""
        return [_place(image) for image in self.reader.images]

    def path(self, number: int) -> Path:
        """Return the file of an image."""
        return self.reader.images[number].path

    def mended_rings(self, row: int) -> list[list[float]]:
        """Return the rings that an annotation has in a clean copy."""
        rings = self.reader.annotations.outlines.rings(row)
        if not self.checked.has("crossing", "beyond")[row]:
            return [ring.ravel().tolist() for ring in rings]
        image = self.reader.images[self.reader.annotations.owners[row]]
        return mended_rings(rings, image.width, image.height)


def read_split(name: str, folder: Path, *, outside: bool = False) -> Split:
    """Read what the annotation file of a folder says of its images; its annotations are read by ``check_split``.

    Args:
        name: of the split.
        folder: that holds it.
        outside: take images outside the folder too.

    Raises:
        ArgumentError: there is no annotation file, or it is not COCO.
    """
    reader = CocoReader(find_annotations(folder), folder / "images", annotations=False)
    is_inside = InsideFolder(folder)
    return Split(
        name, folder, reader, np.array([not (outside or is_inside(image.path)) for image in reader.images], dtype=bool)
    )


def check_split(split: Split, files: list[ImageFile], cancel: Event | None) -> None:
    """Find the faults of a split, and what a clean copy makes of its annotations.

    Mended outlines are looked at again: nothing may be left of one, or it may have become the same as another.

    Raises:
        CancelledError: ``cancel`` was set.
    """
    stop_if(cancel)
    split.reader = CocoReader(split.reader.file, split.reader.folder)
    split.files, split.checked = files, check(split.reader, files)
    checked, annotations = split.checked, split.reader.annotations
    shown = np.append(checked.usable, False)[annotations.owners]
    split.kept, keys = checked.kept.copy(), checked.measures.keys.copy()
    split.mended = checked.has("crossing", "beyond") & shown
    for row in np.flatnonzero(split.mended):
        stop_if(cancel)
        rings = split.mended_rings(row)
        if rings:
            points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in rings])
            keys[row] = edge_keys(points, np.array([len(ring) // 2 for ring in rings]), np.array([0]))[0]
        else:
            split.kept[row] = False
            split.faults.add_rows("no_area", np.array([row]), split.reader.annotation_name)
    again = repeated(annotations, keys, split.kept)
    split.kept &= ~again
    split.faults.add_rows("repeated", np.flatnonzero(again), split.reader.annotation_name)


def _place(image: CocoImage) -> Place | None:
    """Return where an image lies: the CRS and its corners there; by its affine, since the bounds of a turned one are larger."""
    if image.crs is None:  # pictures without one all begin at 0, 0
        return None
    if image.affine is not None:
        a, b, c, d, e, f = image.affine
        corners = [(0, 0), (image.width, 0), (image.width, image.height), (0, image.height)]
        return image.crs, tuple((a * col + b * row + c, d * col + e * row + f) for col, row in corners)
    if image.bounds is not None:
        left, bottom, right, top = image.bounds
        return image.crs, ((left, bottom), (right, bottom), (right, top), (left, top))
    return None
