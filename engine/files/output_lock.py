"""Reserve the name of an output while a run writes it, and find what a killed run left behind.

The lock is a file beside the output, ``NAME.maskdino-lock``, locked through the operating system, which lets go of it when the
process ends, however it ends. The file names what grows for the output, so that whoever takes the lock after a
killed run knows what was left: nothing is ever removed for its name alone.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from engine.errors import OutputError

logger = logging.getLogger(__name__)

SIDE_FILES = ("-journal", "-wal", "-shm")  # that SQLite puts beside a database
_LOCK_END = ".maskdino-lock"
_PART_NAME = re.compile(r"[^/\\]*\.maskdino-[0-9a-f]{16}\.part[^/\\]*")
_LONGEST_STEM = 100  # bytes of the output's name that are repeated in that of its part: what is added must fit too
_WITHOUT_LOCKS = {getattr(errno, name, None) for name in ("ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL")}


def part_of(output: Path) -> Path:
    """Return a new name, in the folder of an output, that nobody else has. The extension stays, since GDAL goes by it."""
    # pyogrio takes "!" and ";" for parts of an address and would write elsewhere.
    stem = os.fsencode(re.sub(r"[^\w .()+-]", "_", output.stem))[:_LONGEST_STEM].decode("utf-8", "ignore")
    return output.with_name(f"{stem}.maskdino-{secrets.token_hex(8)}.part{output.suffix}")


class OutputLock:
    """The right to write one output, held until ``release``."""

    def __init__(self, output: Path, part: Path) -> None:
        """Take the lock, and remove what a killed run left under this output.

        Args:
            output: an absolute path without symbolic links.
            part: what will grow for it, in the same folder.

        Raises:
            OutputError: another run writes this output, or a file of somebody else has the lock's name.
            OSError: the folder cannot be written to.
        """
        self._path = _lock_of(output)
        descriptor = _locked(self._path)
        if descriptor is None:
            raise OutputError(f"Another run is writing to {output}.", hint="Wait for it, or name another output.")
        left = _named_in(descriptor)
        if left is None:
            os.close(descriptor)
            raise OutputError(
                f"{self._path} is where this program keeps its lock, and belongs to something else.",
                hint="Rename it, or name another output.",
            )
        self._descriptor: int | None = descriptor
        try:
            if left and remove_part(output.with_name(left)):
                logger.warning("%s, left by a run that was killed, is removed.", output.with_name(left))
            _write(descriptor, part.name)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let others write the output. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if os.name == "nt":  # no file can be removed there while it is open
            os.close(descriptor)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        if os.name != "nt":
            os.close(descriptor)


def left_behind(folder: Path, *, remove: bool = False) -> Iterator[Path]:
    """Yield what killed runs left in a folder: their locks, and what grew under them.

    Args:
        folder: is searched by itself, without those in it.
        remove: each as it is yielded.
    """
    for lock in sorted(folder.glob(f"*{_LOCK_END}")):
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except OSError:  # a folder, or of somebody whose files are none of ours
            continue
        try:
            name = _named_in(descriptor) if _take(descriptor) else None
            if name is None:  # of a run that goes on, or of another program
                continue
            for path in (lock.with_name(name), lock) if name else (lock,):
                if path.exists():
                    if remove:
                        remove_part(path) if path != lock else path.unlink()
                    yield path
        finally:
            os.close(descriptor)


def remove_part(part: Path) -> bool:
    """Remove a file or folder that a lock named, and what SQLite put beside it; return whether it was there.

    A name that ``part_of`` does not give is left alone, whatever a lock says.
    """
    if not _PART_NAME.fullmatch(part.name) or not os.path.lexists(part):
        return False
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
        return True
    for path in (part, *(Path(f"{part}{end}") for end in SIDE_FILES)):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return True


def _lock_of(output: Path) -> Path:
    return output.with_name(f"{output.name}{_LOCK_END}")


def _locked(path: Path) -> int | None:
    """Open a lock file and lock it; None where another process, or another run of this one, holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _take(descriptor):
                os.close(descriptor)
                return None
            # Whoever held it before may have removed the file between the two steps.
            if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Lock an open file for this process alone; return False where it is locked already."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which stays readable
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _WITHOUT_LOCKS  # some network file systems; the checkpoint has a lock of its own
    return True


def _named_in(descriptor: int) -> str | None:
    """Return what a lock file names, empty where it is new; None for a file that is no lock of this program."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 4096)
    if not text:
        return ""
    try:
        content = json.loads(text)
        name = content["part"] if content["program"] == "maskdino" else None
    except (ValueError, TypeError, KeyError):
        return None
    return name if isinstance(name, str) and _PART_NAME.fullmatch(name) else None


def _write(descriptor: int, part: str) -> None:
    text = json.dumps({"program": "maskdino", "process": os.getpid(), "machine": socket.gethostname(), "part": part})
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, text.encode())
