"""The classes that are told apart, and which label stands for which in pictures, rasters and polygon layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path

import numpy as np

from engine.errors import ArgumentError
from engine.files.input_file import refuse_special

IGNORED = "255"
"""The label of pixels that are not compared, where nothing else is said; that of Cityscapes and detectron2."""

NOTHING = -1
"""The number of what is no class: ignored, or without data."""

CONTESTED = -2
"""The number of ground that the truth gives to two classes."""

_UNNAMED = 256  # classes, where nobody names them: all labels of 8 bits
_MOST = 4096  # classes; the largest vocabularies of the field have some 1,200
_LARGEST_LIST = 1 << 20  # bytes, of a file of names
_UNKNOWN = -3
_LABELS = 1 << 16


class Classes:
    """Classes, their names and their labels.

    Args:
        labels: label by name. Without it each label up to 255 is a class of its own, named by its number.
        ignored: names and labels of what is left out of the truth, and counts as no class where it is predicted.

    Attributes:
        names: of the classes, without those ignored; the number of a class is its place here.
        named: whether somebody named them.
    """

    def __init__(self, labels: Mapping[str, int] | None = None, *, ignored: Sequence[str] = (IGNORED,)) -> None:
        self.named = labels is not None
        labels = {str(label): label for label in range(_UNNAMED)} if labels is None else labels
        if len(labels) > _MOST:
            raise ArgumentError(f"There are {len(labels)} classes; at most {_MOST} can be told apart.", hint="Name fewer.")
        wrong = [label for label in labels.values() if not 0 <= label < _LABELS]
        if wrong:
            raise ArgumentError(f"A class has the label {wrong[0]}.", hint=f"Labels are numbers from 0 to {_LABELS - 1}.")
        self._ignored = {name.casefold() for name in ignored}
        kept = {name: label for name, label in labels.items() if not {name.casefold(), str(label)} & self._ignored}
        if not kept:
            raise ArgumentError("No class is left to be compared.", hint="Name classes with --classes, or ignore fewer.")
        self.names = tuple(kept)
        self._by_name = {name.casefold(): number for number, name in enumerate(kept)}
        self._numbers = np.full(_LABELS, _UNKNOWN, dtype=np.int32)
        self._numbers[[label for name, label in labels.items() if name not in kept]] = NOTHING
        self._numbers[[int(name) for name in self._ignored if name.isdecimal() and int(name) < _LABELS]] = NOTHING
        self._numbers[list(kept.values())] = np.arange(len(kept))

    def numbers_of(self, labels: np.ndarray, *, where: str) -> np.ndarray:
        """Return the numbers of the classes that whole labels, of any shape, stand for: int32, ``NOTHING`` where ignored.

        Raises:
            ArgumentError: one of them stands for no class; ``where`` it does begins the sentence.
        """
        known = (labels >= 0) & (labels < _LABELS)
        numbers = np.where(known, self._numbers[np.where(known, labels, 0)], _UNKNOWN)
        unknown = numbers == _UNKNOWN
        if unknown.any():
            raise ArgumentError(
                f"{where} has the label {labels[unknown][0]}, which is none of {self._described}.",
                hint="Name its class with --classes, or leave it out with --ignore.",
            )
        return numbers

    def number_of(self, name: str, *, where: str) -> int:
        """Return the number of a class by its name, upper and lower case aside, or its label; ``NOTHING`` if it is ignored.

        Raises:
            ArgumentError: there is none of that name.
        """
        if name.casefold() in self._ignored:
            return NOTHING
        number = self._by_name.get(name.casefold(), _UNKNOWN)
        if number == _UNKNOWN and name.isdecimal() and int(name) < _LABELS:
            number = int(self._numbers[int(name)])
        if number == _UNKNOWN:
            raise ArgumentError(
                f"{where} has the class '{name}', which is none of {self._described}.",
                hint="Name the classes of the labels, from 0 on, with --classes, or leave this one out with --ignore.",
            )
        return number

    def relabelled(self, labels: Mapping[str, int], *, where: str) -> Classes:
        """Return the same classes, with the labels that another file has for their names.

        Raises:
            ArgumentError: it names a class that is none of them.
        """
        numbers = self._numbers.copy()
        numbers[numbers >= 0] = _UNKNOWN
        for name, label in labels.items():
            numbers[label] = self.number_of(name, where=where)
        other = copy(self)
        other._numbers = numbers
        return other

    @property
    def _described(self) -> str:
        if not self.named:
            return f"the labels 0 to {_UNNAMED - 1}"
        return f"the {len(self.names)} classes ({', '.join(self.names[:8])}{', ...' if len(self.names) > 8 else ''})"


def read_class_names(text: str) -> dict[str, int]:
    """Return the labels of classes by name, from 0 on, of a list with commas or of a file with a name a line.

    Raises:
        ArgumentError: the file cannot be read, or a name stands there twice.
    """
    path, names = Path(text), text.split(",")
    if len(names) == 1 and path.suffix:
        refuse_special(path, what="The list of classes", error=ArgumentError)
        try:
            if path.stat().st_size > _LARGEST_LIST:
                raise ValueError("it is too large for a list of names")
            names = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise ArgumentError(f"The list of classes {path} cannot be read: {error}.", hint="Give a name a line.") from error
    labels: dict[str, int] = {}
    for name in filter(None, map(str.strip, names)):
        if name.casefold() in map(str.casefold, labels):
            raise ArgumentError(f"The class '{name}' is named twice.", hint="Give each class a name of its own.")
        labels[name] = len(labels)
    return labels
