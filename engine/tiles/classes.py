"""The classes of a model by name: which of them are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from engine.errors import ArgumentError

BUILDING = ("building",)
"""The classes of a predictor that names none."""


def wanted_classes(names: Sequence[str], asked: Sequence[str] | None) -> np.ndarray:
    """Return which classes of a model are asked for, (C,) bool; None asks for all.

    Raises:
        ArgumentError: the model has no class of a name, upper and lower case aside; the message names the nearest one.
    """
    if asked is None:
        return np.ones(len(names), dtype=bool)
    known = [name.casefold() for name in names]
    for name in asked:
        if name.casefold() not in known:
            raise ArgumentError(f"The model has no class {name!r}.", hint=_known_classes(name, names))
    return np.isin(known, [name.casefold() for name in asked])


def _known_classes(name: str, names: Sequence[str]) -> str:
    by_folded = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    did_you_mean = f"Did you mean {by_folded[near[0]]!r}? " if near else ""
    return f"{did_you_mean}It has {', '.join(names)}."
