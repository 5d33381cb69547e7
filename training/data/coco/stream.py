"""Read a COCO file piece by piece: that of the whole MapChallenge set would take many gigabytes at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from engine.errors import ArgumentError
from engine.files.input_file import refuse_special

BEGINNING: Any = object()
"""Stands before the first element of an array, which may itself be null."""

_CHUNK = 1 << 20  # characters
_LARGEST_ITEM = 1 << 26  # characters; a longer one is no annotation, but a file that is broken


def walk(path: str | Path, wanted: set[str]) -> Iterator[tuple[str, Any]]:
    """Read the object of a JSON file key by key.

    Args:
        path: of the file.
        wanted: keys; others are passed over.

    Yields:
        A key with its value; where that is an array, with ``BEGINNING`` and then with each element by itself.

    Raises:
        ArgumentError: it cannot be read, or is no JSON object.
    """
    refuse_special(path, what="The annotation file", error=ArgumentError)
    try:
        with Path(path).open(encoding="utf-8-sig") as source:
            yield from _walk(_Reader(source), wanted)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise ArgumentError(f"The annotation file {path} cannot be read: {error}.", hint="Give a COCO file.") from error


def _walk(reader: _Reader, wanted: set[str]) -> Iterator[tuple[str, Any]]:
    reader.expect("{")
    if reader.take("}"):
        return
    while True:
        key = reader.value()
        reader.expect(":")
        if reader.take("["):
            if key in wanted:
                yield key, BEGINNING
            if not reader.take("]"):
                while True:
                    item = reader.value()
                    if key in wanted:
                        yield key, item
                    if not reader.take(","):
                        break
                reader.expect("]")
        else:
            value = reader.value()
            if key in wanted:
                yield key, value
        if not reader.take(","):
            break
    reader.expect("}")


class _Reader:
    """Takes tokens and values from a text, of which it keeps little more than one value."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._text = ""
        self._place = 0
        self._decoder = json.JSONDecoder()

    def take(self, token: str) -> bool:
        """Pass over a character if it is the next one."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in " \t\r\n":
                self._place += 1
            if self._place < len(self._text) or not self._more(_CHUNK):
                break
        if not self._text.startswith(token, self._place):
            return False
        self._place += 1
        return True

    def expect(self, token: str) -> None:
        """Pass over a character that has to be there."""
        if not self.take(token):
            raise json.JSONDecodeError(f"expected '{token}'", self._text, self._place)

    def value(self) -> Any:
        """Read one value."""
        self.take(" ")  # no token: brings the next character
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if len(self._text) - self._place > _LARGEST_ITEM or not self._more(size):
                    raise
            else:
                if end < len(self._text) or not self._more(size):  # a number at the end may go on
                    self._place = end
                    return value
            size *= 2

    def _more(self, size: int) -> bool:
        chunk = self._source.read(size)
        self._text = self._text[self._place :] + chunk
        self._place = 0
        return bool(chunk)
