"""Compare the panoptic segmentations of two files, picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import ArgumentError
from training.evaluation.classes.confusion import ConfusionMatrix
from training.evaluation.panoptic.quality import PanopticQuality, SegmentPairs
from training.evaluation.panoptic.segments import Category, PanopticFile


@dataclass(frozen=True, eq=False)
class PanopticEvaluation:
    """What a comparison gave.

    Attributes:
        prediction, truth: the files.
        categories: of the truth.
        pictures: how many were compared: those of the truth.
        others: pictures of the prediction that the truth does not have; they are not looked at.
        quality: of the segments.
        matrix: of the pixels, each of the class of its segment, crowds too.
    """

    prediction: str
    truth: str
    categories: tuple[Category, ...]
    pictures: int
    others: int
    quality: PanopticQuality
    matrix: ConfusionMatrix

    def of_kind(self, *, things: bool) -> np.ndarray:
        """Return which categories are things, or stuff: (C,) bool."""
        return np.array([category.thing == things for category in self.categories], dtype=bool)


def evaluate_panoptic(
    prediction: str | Path,
    truth: str | Path,
    *,
    prediction_folder: str | Path | None = None,
    truth_folder: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PanopticEvaluation:
    """Compare two files in COCO's panoptic format.

    Sizes of segments are counted in the PNG files, whatever ``area`` entries say.

    Args:
        prediction, truth: the JSON files.
        prediction_folder, truth_folder: of their PNG files; by default the folder beside each that has its name.
        progress: called with the pictures done, and all; what it raises ends the work.

    Raises:
        ArgumentError: a file cannot be read, a picture has no prediction or another size there, an id or a category is unknown.
    """
    known = PanopticFile(truth, truth_folder)
    given = PanopticFile(prediction, prediction_folder, categories=known.categories)
    categories = tuple(known.categories.values())
    quality, matrix = PanopticQuality(len(categories)), ConfusionMatrix([category.name for category in categories])
    for done, image in enumerate(known.segments):
        progress(done, len(known.segments))
        if image not in given.segments:
            raise ArgumentError(
                f"{prediction} has no segmentation of the picture {image}.", hint="Give one of each picture of the truth."
            )
        _add(known, given, image, quality, matrix)
    progress(len(known.segments), len(known.segments))
    return PanopticEvaluation(
        prediction=str(prediction),
        truth=str(truth),
        categories=categories,
        pictures=len(known.segments),
        others=len(given.segments.keys() - known.segments.keys()),
        quality=quality,
        matrix=matrix,
    )


def _add(known: PanopticFile, given: PanopticFile, image: int | str, quality: PanopticQuality, matrix: ConfusionMatrix) -> None:
    there, found = known.read_ids(image), given.read_ids(image)
    true_segments, segments = known.segments[image], given.segments[image]
    if there.shape != found.shape:
        raise ArgumentError(
            f"The PNG {segments.file_name} of the picture {image} is {found.shape[1]}x{found.shape[0]} pixels, that of the "
            f"truth {there.shape[1]}x{there.shape[0]}.",
            hint="Give predictions in the size of the truth.",
        )
    pairs = SegmentPairs.of(there, found, true_segments, segments)
    without_pixels = np.setdiff1d(np.arange(len(segments.ids)), pairs.found)
    if len(without_pixels):
        raise ArgumentError(
            f"The segment {segments.ids[without_pixels[0]]} of the picture {image} in {given.path} has no pixel in "
            f"{segments.file_name}.",
            hint="Are JSON file and PNG of one run?",
        )
    quality.add(true_segments, segments, pairs)
    labelled = pairs.truth >= 0
    first, second = pairs.truth[labelled], pairs.found[labelled]
    classes = np.append(segments.categories, -1)[second]
    matrix.add_pairs(true_segments.categories[first], classes, pairs.pixels[labelled])
