"""Keep what has been done so far in a file beside the output, so that a killed run can be resumed.

One row for each part of the work in an SQLite file, committed as soon as the part is done: SQLite's write-ahead log survives
the death of the process at any instruction.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from engine.errors import ArgumentError, MaskDinoError, OutputError

logger = logging.getLogger(__name__)

_APPLICATION = 0x4D444E4F  # "MDNO", where SQLite keeps what a database is for
_APPLICATION_PLACE = 68  # bytes into the file


class ProgressFile:
    """The progress file of one run. Used by several threads; one lock serialises them."""

    def __init__(self, path: Path, *, fingerprint: Mapping[str, str], resume: bool) -> None:
        """Open or start a progress file.

        Args:
            path: where it stands.
            fingerprint: everything that shapes what is kept, by the name that a person knows it by.
            resume: go on with what is there; otherwise what is there is discarded.

        Raises:
            ArgumentError: ``resume`` with a file that another raster, model or setting made; the message names what differs.
            OutputError: the file cannot be written, another run is using it, or it is not one of this program.
        """
        self.path = path
        self._lock = threading.Lock()
        self._fingerprint = dict(fingerprint)
        left_over = path.exists()
        if left_over or any(side.exists() for side in self._files()):
            self._refuse_foreign()
        if resume and not left_over:
            logger.info("There is nothing to resume at %s: starting from the beginning.", path)
        try:
            self._start(left_over, resume)
        except MaskDinoError:
            if not left_over:  # what could not be begun is not left lying about
                self._remove()
            raise

    def _files(self) -> list[Path]:
        return [Path(f"{self.path}{end}") for end in ("", "-wal", "-shm", "-journal")]

    def _refuse_foreign(self) -> None:
        """Refuse a file that this program did not make: it is going to be emptied, and removed in the end."""
        if not is_progress_file(self.path):
            raise OutputError(
                f"{self.path}, where progress is to be kept, is damaged or a file of another program.",
                hint="Rename it and run without --resume, or name another output.",
            )

    def _start(self, left_over: bool, resume: bool) -> None:
        try:
            with self._errors():
                self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if resume:
                raise OutputError(
                    f"The progress file {self.path} is damaged: {error}.", hint="Run again without --resume to start afresh."
                ) from error
            self._remove()
            with self._errors():
                self._connection = self._open()
        try:
            with self._errors():
                if resume:
                    self._check()
                elif left_over:
                    logger.info(
                        "Discarding the progress of an earlier run, %s; --resume would have gone on with it.", self.path
                    )
                if not resume or not left_over:
                    self._begin()
        except MaskDinoError:
            self._connection.close()
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what SQLite says about the disk into what this program says about it."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise OutputError(
                    f"Another run is writing to {self.path.with_suffix('')}.", hint="Wait for it, or name another output."
                ) from error
            raise OutputError(
                f"Progress cannot be kept in {self.path}: {error}.", hint="Free some space or choose another folder."
            ) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")  # before the log, so that it is in the file itself
            # An exclusive lock keeps a second run out, and spares the shared memory that network file systems lack.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS run (fingerprint TEXT NOT NULL)")
            connection.execute("CREATE TABLE IF NOT EXISTS tiles (tile INTEGER PRIMARY KEY, pieces BLOB NOT NULL)")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _begin(self) -> None:
        with self._lock:
            self._connection.execute("BEGIN")
            self._connection.execute("DELETE FROM tiles")
            self._connection.execute("DELETE FROM run")
            self._connection.execute("INSERT INTO run VALUES (?)", [json.dumps(self._fingerprint)])
            self._connection.execute("COMMIT")

    def _check(self) -> None:
        row = self._connection.execute("SELECT fingerprint FROM run").fetchone()
        if row is None:  # killed before its first tile
            self._begin()
            return
        then, now = json.loads(row[0]), self._fingerprint
        differences = [
            f"{key} was {then.get(key, 'not given')}, is {now.get(key, 'not given')}"
            for key in sorted({*then, *now})
            if then.get(key) != now.get(key)
        ]
        if differences:
            raise ArgumentError(
                f"--resume cannot go on with {self.path}: {'; '.join(differences)}.",
                hint="Run it with the same raster, model and settings, or without --resume to start afresh.",
            )

    def __len__(self) -> int:
        """Return how many parts are done."""
        with self._lock:
            return self._connection.execute("SELECT count(*) FROM tiles").fetchone()[0]

    def keep(self, number: int, content: bytes) -> None:
        """Record that a part is done, for good."""
        with self._lock, self._errors():
            self._connection.execute("INSERT OR REPLACE INTO tiles VALUES (?, ?)", (number, content))

    def kept(self, number: int) -> bytes | None:
        """Return the content of a part that is done, None for one that is not."""
        with self._lock, self._errors():
            row = self._connection.execute("SELECT pieces FROM tiles WHERE tile = ?", [number]).fetchone()
        return None if row is None else row[0]

    def close(self, *, keep: bool) -> None:
        """Close the file, and remove it unless a later run is to go on with it."""
        with self._lock:
            self._connection.close()
        if not keep:
            self._remove()

    def _remove(self) -> None:
        for path in self._files():
            path.unlink(missing_ok=True)


def is_progress_file(path: Path) -> bool:
    """Return whether a file is a progress file, damaged ones and one that is still empty included."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.read(_APPLICATION_PLACE + 4)
    if not header:
        return not Path(f"{path}-wal").exists()
    if not header.startswith(b"SQLite format 3\0"):
        return False
    return header[_APPLICATION_PLACE:] == _APPLICATION.to_bytes(4, "big") or _has_tables(path)


def _has_tables(path: Path) -> bool:
    """Return whether a database has the tables of a progress file: earlier versions wrote nothing else to tell it by."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error:
        return False
    return {name for (name,) in rows} == {"run", "tiles"}
