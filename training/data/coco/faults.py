"""What can be wrong with a data set in COCO's format, and what is done about it in training, in an audit and in evaluation.

This table is the only one: all three find faults with ``checks.py``, under these names, and ``docs/datasets.md`` lists it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from engine.errors import ArgumentError

Use = Literal["training", "audit", "evaluation"]
"""``audit`` is what ``audit-dataset --write`` does, ``evaluation`` holds for a training's validation too."""

LEFT_OUT, REFUSED, KEPT = "left out", "refused", "kept"
TINY = 12.0  # square pixels; a building of that cannot be told from clutter
EXAMPLES = 20  # kept of each fault


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        of: what has it.
        what: continues "an image ..." or "an annotation ...".
        training, audit, evaluation: what is done; anything but ``LEFT_OUT``, ``REFUSED`` and ``KEPT`` is a repair, in words.
    """

    of: Literal["image", "annotation"]
    what: str
    training: str
    audit: str
    evaluation: str

    def sentence(self, use: Use) -> str:
        """Return what is wrong and what is done about it, without the subject."""
        return f"{self.what}; {getattr(self, use)}"


def _image(what: str, training: str, *, audit: str | None = None, evaluation: str | None = None) -> Fault:
    return Fault("image", what, training, audit or training, evaluation or training)


def _annotation(what: str, training: str, *, audit: str | None = None, evaluation: str | None = None) -> Fault:
    return Fault("annotation", what, training, audit or training, evaluation or training)


FAULTS = {
    "malformed_image": _image("has no id or no file_name", REFUSED, audit=LEFT_OUT),
    "malformed_ignore": _image(
        "has an ignore polygon that is not three points or more", REFUSED, audit="the polygon is left out"
    ),
    "two_files": _image(
        "has the id of another file, so that their annotations cannot be told apart", REFUSED, audit="both are left out"
    ),
    "image_twice": _image("is listed twice", "taken once"),
    "file_twice": _image("is listed under two ids", "taken once, with the annotations of both"),
    "outside_folder": _image("lies outside the data set's folder", KEPT, audit="left out without --outside-images"),
    "missing": _image("names a file that is not there", LEFT_OUT, evaluation=REFUSED),
    "unreadable": _image("names a file that is no picture of 8 bit values", LEFT_OUT, evaluation=REFUSED),
    "wrong_size": _image("is of another size than the file says", LEFT_OUT, evaluation=REFUSED),
    "no_size": _image("has no size in the file", "measured"),
    "swapped_sides": _image("has width and height the other way round in the file", "measured"),
    "grey": _image("is grey or has a palette", "turned into red, green and blue"),
    "transparent": _image("has transparency", "taken as if it had none"),
    "no_image": _annotation("belongs to no image of the file", LEFT_OUT),
    "unknown_category": _annotation("has a category that the file does not list", LEFT_OUT),
    "no_outline": _annotation("has no segmentation, or an empty one", LEFT_OUT),
    "malformed": _annotation(
        "has a segmentation that is neither rings of numbers nor a run-length mask of the image's size", LEFT_OUT
    ),
    "no_area": _annotation("has an outline that encloses nothing", LEFT_OUT),
    "outside": _annotation("lies outside its image", LEFT_OUT),
    "repeated": _annotation("is on its image a second time", LEFT_OUT),
    "malformed_ring": _annotation("has a ring that is no list of points", "the ring is left out"),
    "crossing": _annotation(
        "has an outline that crosses itself", "mended", evaluation="drawn by pycocotools as it is, as for published figures"
    ),
    "beyond": _annotation("reaches beyond its image", "cut at the border"),
    "wrong_box": _annotation("has a bbox that is not its outline's", "measured again"),
    "wrong_area": _annotation("has an area that is not its outline's", "measured again"),
    "duplicate_id": _annotation("has an id that another annotation has, or none", "numbered again"),
    "tiny": _annotation(f"is smaller than {TINY:g} square pixels", KEPT),
}


@dataclass
class Found:
    """How often a fault was met, and the first of those that have it.

    Attributes:
        count: times.
        examples: in words.
        rows: the annotations of the examples, by their place in the file; none of images.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


class Faults(dict[str, Found]):
    """What was found in one file, by names of ``FAULTS``."""

    def add(self, name: str, example: str) -> None:
        """Count an image."""
        found = self.setdefault(name, Found())
        found.count += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append(example)

    def add_rows(self, name: str, rows: np.ndarray, name_of: Callable[[int], str]) -> None:
        """Count annotations by their places in the file; ``name_of`` names one."""
        if len(rows):
            found = self.setdefault(name, Found())
            first = rows[: EXAMPLES - len(found.rows)].tolist()
            found.count += len(rows)
            found.rows += first
            found.examples += [name_of(row) for row in first]

    def done(self, use: Use) -> dict[str, int]:
        """Return in words what was repaired or left out, and how often."""
        return {
            f"an {FAULTS[name].of} {FAULTS[name].sentence(use)}": found.count
            for name, found in sorted(self.items())
            if getattr(FAULTS[name], use) != KEPT
        }

    def refuse(self, file: Path, use: Use) -> None:
        """Refuse a file for faults that nothing can be done about.

        Raises:
            ArgumentError: there is one; it names an example.
        """
        for name, found in self.items():
            if getattr(FAULTS[name], use) == REFUSED:
                raise ArgumentError(
                    f"{file}: an {FAULTS[name].of} {FAULTS[name].what}: {found.examples[0]}.",
                    hint="Correct the annotation file, or let `maskdino audit-dataset ... --write` make a clean copy.",
                )
