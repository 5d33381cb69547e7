"""Compiled kernels on disk, so that each is compiled once on a machine and not once a run.

Processes may write at the same time: a file appears under its name whole or not at all, and what is in it is checked when it
is read. A folder that cannot be written costs the compilation, never the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_LOG = logging.getLogger(__name__)
_DIGEST_BYTES = 32


def folder() -> Path:
    """Return where compiled kernels are kept: MASKDINO_CACHE, or the user's folder for what programs may keep."""
    asked = os.environ.get("MASKDINO_CACHE")
    if asked:
        return Path(asked, "kernels")
    if sys.platform == "win32":
        parent = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    else:
        parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(parent, "maskdino", "kernels")


def cached(key: str, compile: Callable[[], bytes]) -> bytes:
    """Return what `compile` returned when this key was first asked for.

    Args:
        key: everything that the result depends on.
        compile: makes the result where it is not on disk, or damaged there.
    """
    try:
        path = folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.bin"
    except RuntimeError as error:  # a user without a home folder
        _LOG.info("A compiled kernel is not kept for the next run: %s", error)
        return compile()
    binary = _read(path)
    if binary is None:
        binary = compile()
        _write(path, binary)
    return binary


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, binary = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(binary).digest() != digest:
        _LOG.warning("%s is damaged; its kernel is compiled again.", path)
        return None
    return binary


def _write(path: Path, binary: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(binary).digest() + binary)
            os.replace(temporary, path)  # on Windows it fails while another process reads the file: then it is there already
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        _LOG.info("A compiled kernel is not kept for the next run: %s", error)
