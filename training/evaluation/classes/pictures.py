"""Compare pictures of labels, one a scene, as ADE20K and Cityscapes have them: the label of a pixel is its class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.errors import ArgumentError
from training.data.label_pictures import read_labels
from training.evaluation.classes.confusion import ConfusionMatrix
from training.evaluation.classes.labels import IGNORED, NOTHING, Classes


def compare_pictures(
    prediction: Path,
    truth: Path,
    classes: Classes,
    *,
    prediction_suffix: str = ".png",
    truth_suffix: str = ".png",
    reduce_zero_label: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[ConfusionMatrix, int]:
    """Compare the pictures of two folders, those in folders of theirs too; two are of one scene if their names agree.

    Args:
        prediction, truth: the folders.
        classes: of both.
        prediction_suffix, truth_suffix: what the names end with, beyond what they have to agree in.
        reduce_zero_label: in the truth, 0 and 255 are ignored and 1 is the first class, as in ADE20K as published.
        progress: called with the pictures done, and all; what it raises ends the work.

    Returns:
        The confusion matrix, and how many pictures were compared.

    Raises:
        ArgumentError: a picture of the truth has no counterpart, one cannot be read or has a label that is no class, or two of
            one scene differ in size.
    """
    scenes = _scenes(truth, truth_suffix)
    matrix = ConfusionMatrix(classes.names)
    for done, (scene, there) in enumerate(scenes.items()):
        progress(done, len(scenes))
        found = prediction / f"{scene}{prediction_suffix}"
        if not found.is_file():
            raise ArgumentError(
                f"There is no prediction {found} for {there}.",
                hint="Each picture of the truth needs one of the same name; --prediction-suffix names other endings.",
            )
        known = _truth(there, classes, reduce_zero_label)
        given = classes.numbers_of(read_labels(found), where=str(found))
        if given.shape != known.shape:
            raise ArgumentError(
                f"{found} is {_size(given)} pixels, {there} {_size(known)}.", hint="Give predictions in the size of the truth."
            )
        matrix.add(known, given)
    progress(len(scenes), len(scenes))
    return matrix, len(scenes)


def _scenes(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the pictures of a folder by what their names have in common with those of other folders, in order."""
    found = {
        path.relative_to(folder).as_posix().removesuffix(suffix): path
        for path in sorted(folder.rglob("*"))
        if path.name.endswith(suffix) and path.is_file()
    }
    if not found:
        raise ArgumentError(
            f"The folder {folder} holds no file whose name ends with '{suffix}'.",
            hint="Name another ending with --truth-suffix.",
        )
    return found


def _truth(path: Path, classes: Classes, reduce_zero_label: bool) -> np.ndarray:
    """Return the numbers of the classes in a picture of the truth: (H, W) int32."""
    labels = read_labels(path)
    if not reduce_zero_label:
        return classes.numbers_of(labels, where=str(path))
    ignored = (labels == 0) | (labels == int(IGNORED))
    numbers = classes.numbers_of(np.where(ignored, 1, labels) - 1, where=f"{path}, without its label 0,")
    numbers[ignored] = NOTHING
    return numbers


def _size(labels: np.ndarray) -> str:
    return f"{labels.shape[1]}x{labels.shape[0]}"
