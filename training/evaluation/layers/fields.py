"""The fields of the layers that a comparison reads: how sure a detection is, and of which class a footprint is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ArgumentError
from engine.vector.polygon_file import PolygonLayer

SCORE_FIELDS = ("score", "confidence", "conf", "probability")
"""Where a score is looked for, in upper or lower case, if nobody names the field."""

CLASS_FIELDS = ("class",)
"""Where a class is looked for."""

NO_CLASS = "(no class)"
"""The class of features that have none; they match each other alone."""


def find_field(names: Sequence[str], *, wanted: str | None, among: Sequence[str], what: str, path: str | Path) -> str | None:
    """Return the name of a field: the one that is wanted, or the first of the usual ones that the layer has, if any.

    Raises:
        ArgumentError: the layer, at ``path``, has no field of the name wanted; ``what`` says what was to be read from it.
    """
    if wanted is not None:
        if wanted not in names:
            raise ArgumentError(
                f"{what} field '{wanted}' is not in {path}.", hint=f"It has {', '.join(names) or 'no fields at all'}."
            )
        return wanted
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in among if name in by_lower), None)


def find_fields(names: Sequence[str], *wanted: Mapping[str, Any]) -> list[str]:
    """Return the names of several fields, each looked for as by `find_field`; without those that the layer lacks."""
    found = (find_field(names, **each) for each in wanted)
    return list(dict.fromkeys(name for name in found if name is not None))


def scores_of(layer: PolygonLayer, field: str) -> tuple[np.ndarray, int]:
    """Return the scores (N,) of a layer, minus infinity where they are missing, and how many are.

    Raises:
        ArgumentError: the field holds no numbers.
    """
    try:
        scores = layer.fields[field].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"score field '{field}' of {layer.path} holds no numbers.", hint="Name another one with --score-field."
        ) from error
    unknown = np.isnan(scores)
    return np.where(unknown, -np.inf, scores), int(unknown.sum())


@dataclass(frozen=True, eq=False)
class LayerClasses:
    """The classes of two layers that are compared, spelled alike.

    Attributes:
        detected, annotated: (N,) and (M,) names.
        fields: where they came from, in either layer.
    """

    detected: np.ndarray
    annotated: np.ndarray
    fields: tuple[str, str]

    @classmethod
    def of(
        cls, detections: PolygonLayer, detected: str | None, annotations: PolygonLayer, annotated: str | None
    ) -> LayerClasses | None:
        """Read the classes of two layers by the names of their fields; None where one has none.

        Names that differ in upper and lower case alone are one class, and spelled as the annotations do.
        """
        if detected is None or annotated is None:
            return None
        ours, theirs = class_names(detections.fields[detected]), class_names(annotations.fields[annotated])
        spelling = {name.casefold(): name for name in [*ours, *theirs]}
        ours, theirs = (np.array([spelling[name.casefold()] for name in names], dtype=object) for names in (ours, theirs))
        return cls(ours, theirs, (detected, annotated))

    @property
    def names(self) -> list[str]:
        """Every class of either layer, in alphabetical order."""
        return sorted({*self.detected, *self.annotated})

    def only(self, detections: np.ndarray, annotations: np.ndarray) -> LayerClasses:
        """Return the classes of some rows of either layer."""
        return LayerClasses(self.detected[detections], self.annotated[annotations], self.fields)

    def agree(self, detections: np.ndarray, annotations: np.ndarray) -> np.ndarray:
        """Return which pairs of rows, (P,) each, are of one class: (P,) bool."""
        return self.detected[detections] == self.annotated[annotations]


def class_names(values: np.ndarray) -> list[str]:
    """Return the names of classes that the values of a field stand for, ``NO_CLASS`` where there is none."""
    return [_name(value) for value in values.tolist()]


def _name(value: Any) -> str:
    if value is None or value != value:  # NaN
        return NO_CLASS
    if isinstance(value, float) and value.is_integer():  # numbers of classes, some of them missing
        value = int(value)
    return str(value).strip() or NO_CLASS
