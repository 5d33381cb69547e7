"""Write a folder in the MapChallenge layout, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from engine.errors import MaskDinoError, OutputError
from engine.files.output_lock import OutputLock, part_of, remove_part

CATEGORY = 100  # what MapChallenge calls a building
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EROFS}
CATEGORIES = [{"id": CATEGORY, "name": "building", "supercategory": "building"}]


@contextmanager
def finished_folder(output: str | Path) -> Iterator[Path]:
    """Yield a folder to write into, which takes its name when it is finished; left by an error, it is removed.

    Raises:
        OutputError: the folder exists and holds something, or cannot be made.
    """
    check_new_folder(output)
    output = Path(os.path.realpath(output))
    partial = part_of(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = OutputLock(output, partial)
        partial.mkdir()
    except MaskDinoError:
        raise
    except OSError as error:
        raise OutputError(f"The folder {output} cannot be made: {error.strerror}.", hint="Name another one.") from error
    try:
        yield partial
        if output.exists():
            output.rmdir()
        partial.replace(output)
    except OSError as error:
        # Most of what fails for want of space does not say in which file.
        written = error.errno in _DISK or (error.filename is not None and str(partial) in str(error.filename))
        if isinstance(error, MaskDinoError) or not written:
            raise
        raise OutputError(f"{output} cannot be written: {error.strerror}.", hint="Is the disk full?") from error
    finally:
        remove_part(partial)
        lock.release()


def check_new_folder(output: str | Path) -> None:
    """Find out, before any work, whether a folder can be made.

    Raises:
        OutputError: there is a file of this name, a folder that holds something, or no file system takes the name.
    """
    output = Path(output)
    try:
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"The folder {output} cannot be made: {reason}.", hint="Name another one.") from error
    if taken:
        raise OutputError(f"The folder {output} is there already.", hint="Name another one, or remove it.")


class CocoWriter:
    """Writes ``annotation.json``; annotations go to the file as they come, since there may be millions.

    Args:
        folder: is made, with ``images/`` in it.
        info: what the data set is.
        categories: MapChallenge's one by default.
    """

    def __init__(self, folder: Path, info: dict[str, Any], categories: list[dict] | None = None) -> None:
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.image_count = self.annotation_count = 0
        self._entries: list[str] = []
        self._target = (folder / "annotation.json").open("w", encoding="utf-8")
        head = {"info": info, "categories": CATEGORIES if categories is None else categories}
        self._target.write(json.dumps(head, ensure_ascii=False)[:-1] + ',\n"annotations": [')

    def add_image(self, entry: dict[str, Any]) -> None:
        """Take an entry of ``images``."""
        self._entries.append(json.dumps(entry, ensure_ascii=False))
        self.image_count += 1

    def add_annotation(self, entry: dict[str, Any]) -> None:
        """Write an entry of ``annotations``."""
        self._target.write((",\n" if self.annotation_count else "\n") + json.dumps(entry, ensure_ascii=False))
        self.annotation_count += 1

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._target:
            if kind is None:
                self._target.write('],\n"images": [\n' + ",\n".join(self._entries) + "]}\n")
