"""Refuse to read from what has no end: a pipe that nobody writes to, a device."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import MaskDinoError


def refuse_special(path: str | os.PathLike[str], *, what: str, error: type[MaskDinoError]) -> None:
    """Refuse a path that is neither file nor folder; one that is not there, or no path at all, is no matter here.

    Raises:
        error: it is a pipe, a socket or a device; ``what`` it is for begins the sentence.
    """
    try:
        special = os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))
    except (OSError, ValueError):
        return
    if special:
        raise error(f"{what} {Path(path)} is a pipe or a device.", hint="Save it as a file first.")
