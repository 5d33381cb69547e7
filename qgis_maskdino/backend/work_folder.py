"""A folder for files in between."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def work_folder() -> Iterator[str]:
    """Make a folder that is deleted afterwards.

    Windows deletes no file that a program holds open, and QGIS closes its own some time after they were read: what cannot be
    deleted is left to the system, and must not turn a detection that succeeded into one that failed.
    """
    folder = tempfile.mkdtemp(prefix="maskdino-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
