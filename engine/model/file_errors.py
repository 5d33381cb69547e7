"""Errors about a file begin with its name, whichever depth of its reading they come from, and quote it cut short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ModelFileError


@contextmanager
def about_file(what: str, path: Path) -> Iterator[None]:
    """Prefix each ``ModelFileError`` raised inside with ``what`` ("The model file") and the path.

    Raises:
        ModelFileError: also where the file cannot be opened or read at all.
    """
    try:
        yield
    except ModelFileError as error:
        raise type(error)(f"{what} {str(path)!r} cannot be used: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise ModelFileError(f"{what} {str(path)!r} cannot be read: {error.strerror or error}.") from error


def short(value: object) -> str:
    """Quote what a file says, cut short. Containers are named only: they may be endless."""
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= 80 else f"{value[:77]!r}..."
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {' '.join(str(value)[:200].split())[:120]}"
    if isinstance(value, tuple) and all(type(part) is int and abs(part) < 2**64 for part in value[:8]):
        return f"{value[:8]}"
    return f"a {type(value).__name__}"
