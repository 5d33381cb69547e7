"""Hold a database that is to be replaced, so that neither a crashed nor a running program can spoil what takes its place.

SQLite finds the journals of a database by its name. One that a crash left (``-journal``, ``-wal``) would be played into
whatever stands under the name next; and a program with a transaction under way would commit into a file that is gone.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from engine.errors import OutputError
from engine.files.output_lock import SIDE_FILES

_WAIT = 0.5  # seconds for a program that is just writing
_BEGINNINGS = {"-journal": (b"\xd9\xd5\x05\xf9", b"\0\0\0\0"), "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")}


@contextmanager
def held_for_replacement(path: Path) -> Iterator[None]:
    """Lock a database against all other programs, after SQLite has brought into it what belongs to it.

    A file that is no database, or none at all, is fine as long as nothing stands beside it that SQLite would play into a
    new one.

    Raises:
        OutputError: another program has the database open, or there are journals that do not belong to it.
        PermissionError: it may not be written.
    """
    _refuse_foreign_journals(path)
    if not path.exists():
        yield
        return
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    address = f"{path.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None)) as database:
        try:
            # In this order: an exclusive lock on a write-ahead log is only to be had where no one else is connected.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = DELETE").fetchone()
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise _in_use(path) from error
            raise OutputError(f"The output {path} cannot be replaced: {error}.", hint="Choose another name.") from error
        except sqlite3.DatabaseError:  # no database, or one beyond repair: SQLite plays nothing into it
            if any(_is_filled(side) for side in _side_files(path)):
                raise _in_use(path) from None
        else:
            for side in _side_files(path):
                with suppress(OSError):
                    side.unlink(missing_ok=True)
        if os.name == "nt":  # no open file can be replaced there
            database.close()
        yield


def _refuse_foreign_journals(path: Path) -> None:
    for side in filter(_is_filled, _side_files(path)):
        known = _BEGINNINGS.get(side.name[len(path.name) :])
        if not path.exists() or (known is not None and not _begins_with(side, known)):
            raise _in_use(path, f": {side.name} stands beside it")


def _side_files(path: Path) -> list[Path]:
    return [Path(f"{path}{end}") for end in SIDE_FILES]


def _is_filled(path: Path) -> bool:
    return path.exists() and (not path.is_file() or path.stat().st_size > 0)


def _begins_with(path: Path, beginnings: tuple[bytes, ...]) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in beginnings


def _in_use(path: Path, why: str = "") -> OutputError:
    return OutputError(
        f"The output {path} is open in another program, or was when that crashed, with changes to save{why}.",
        hint="Save and close it there, or choose another name.",
    )
