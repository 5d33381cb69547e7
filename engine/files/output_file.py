"""Write a file so that a whole one, and nothing else, ever stands under its name.

Everything grows under a name that nobody else has, in the same folder, and takes the output's name in one step. The output is
locked from the first check to the last step, a symbolic link is written through, and no input can be an output.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from engine.errors import ArgumentError, OutputError
from engine.files.output_lock import OutputLock, part_of, remove_part
from engine.files.sqlite_file import held_for_replacement

_FULL = 2**20  # bytes; a database that takes back its last transaction leaves some of the disk free
_BEGINNING = 4096  # bytes
_LONGEST_NAME = 240  # bytes; file systems take 255, and the names of lock and checkpoint are longer than the output's
_DATABASES = {".gpkg", ".sqlite", ".db"}
# Files that belong to one that is named, with another extension.
_COMPANIONS = {
    ".shp": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx"),
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
    ".gml": (".gfs", ".xsd"),
}


class OutputFile:
    """A file on its way: write to ``part``, then ``finish``. ``close``, or the end of a ``with`` block, lets go of it.

    Attributes:
        path: the output as it was named.
        target: the same, absolute and without symbolic links.
        part: where it grows; empty at first.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Reserve an output. What stands under its name is not touched before ``finish``.

        Raises:
            OutputError: it cannot be written there, another run is writing it, or another program has it open.
        """
        self.path = Path(path)
        self._lock: OutputLock | None = None
        with explained(self.path):
            self.target = _target_of(self.path)
            self.part = part_of(self.target)
            self._lock = OutputLock(self.target, self.part)
            try:
                if self._is_database:
                    with held_for_replacement(self.target):
                        pass
                else:
                    _check_writable(self.target)
                os.close(os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            except BaseException:
                self.close()
                raise

    def finish(self) -> None:
        """Give the file its name, in one step. It stays locked until ``close``.

        Raises:
            OutputError: it cannot be; what stood under the name still does.
        """
        with explained(self.path):
            with self.part.open("r+b") as file:
                os.fsync(file.fileno())
            with suppress(OSError):
                self.part.chmod(stat.S_IMODE(self.target.stat().st_mode))
            with held_for_replacement(self.target) if self._is_database else nullcontext():
                os.replace(self.part, self.target)

    def write_text(self, text: str) -> None:
        """Write a whole file.

        Raises:
            OutputError: as ``finish``.
        """
        with explained(self.path):
            self.part.write_text(text, encoding="utf-8")
        self.finish()

    def close(self) -> None:
        """Leave nothing of an unfinished file, and let others write the output. A second call does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            remove_part(self.part)
            lock.release()

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _is_database(self) -> bool:
        return self.target.suffix.lower() in _DATABASES


@contextmanager
def reserved(
    outputs: Mapping[str, str | os.PathLike[str] | None],
    *,
    inputs: Iterable[str | os.PathLike[str] | None] = (),
    reserve: Mapping[str, Callable[[str | os.PathLike[str]], OutputFile]] | None = None,
) -> Iterator[dict[str, OutputFile]]:
    """Reserve the outputs of a command that are asked for, after holding them against its inputs and one another.

    Args:
        outputs: by the name of the argument; None, or empty, for one that is not asked for.
        inputs: as ``refuse_inputs`` takes them.
        reserve: how, for those that are no text.

    Yields:
        The files by the name of the argument. Those not finished by the end of the block leave nothing.

    Raises:
        ArgumentError: as ``refuse_inputs``.
        OutputError: as ``OutputFile``, or a text would replace a file that is none.
    """
    asked_for = {name: path for name, path in outputs.items() if path}
    refuse_inputs(asked_for, inputs)
    with ExitStack() as stack:
        make = reserve or {}
        yield {name: stack.enter_context(make.get(name, _text_file)(path)) for name, path in asked_for.items()}


def _text_file(path: str | os.PathLike[str]) -> OutputFile:
    """Reserve a file of text, such as a report; an image or a database is not what somebody wants replaced by one."""
    file = OutputFile(path)
    if b"\0" in _beginning_of(file.target):
        file.close()
        raise OutputError(
            f"The output {path} would replace a file that is no text.", hint="Name another file, or remove that one first."
        )
    return file


def _beginning_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_BEGINNING)
    except OSError:  # mostly: it is not there
        return b""


def refuse_inputs(outputs: Mapping[str, Any], inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """Refuse outputs that would replace something that is read, or one another: by what they are, not by their names.

    Args:
        outputs: paths by the name of the argument.
        inputs: files, with what belongs to them (the parts of a shapefile); folders, with all that is in them; layers as
            ``FILE|layername=NAME``. Others, such as addresses and None, are no files.

    Raises:
        ArgumentError: two of them are one file.
    """
    paths = {name: Path(path) for name, path in outputs.items()}
    read = [Path(file) for name in inputs if name for file in _files_of(str(name))]
    for place, (name, path) in enumerate(paths.items()):
        if any(_is_in(path, file) for file in read):
            raise ArgumentError(
                f"The output {path} ({name}) is a file that is read too, and would be lost.", hint="Name another file."
            )
        for other, other_path in list(paths.items())[:place]:
            if _is_same(path, other_path):
                raise ArgumentError(f"{other} and {name} are both {path}.", hint="Name a file for each.")


@contextmanager
def explained(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn the errors of writing, and those of ``also``, into one line that names the output."""
    try:
        yield
    except OutputError:
        raise
    except PermissionError as error:
        raise OutputError(
            f"The output {path} cannot be written: permission denied.",
            hint="Choose another folder, or close the program that has the file open.",
        ) from error
    except (OSError, *also) as error:
        if _is_full(path.parent, error):
            raise OutputError(
                f"The output {path} cannot be written: the disk is full.", hint="Make room, or write to another disk."
            ) from error
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise OutputError(
            f"The output {path} cannot be written: {reason.removesuffix('.')}.", hint="Choose another folder or disk."
        ) from error


def _target_of(path: Path) -> Path:
    """Return the file that an output stands for, where its name is a symbolic link.

    Raises:
        OutputError: no file can stand there.
    """
    target = Path(_real(path))
    if "\0" in str(path):
        raise OutputError(f"The output {str(path)!r} has a null character in its name.", hint="Name a file.")
    if len(os.fsencode(target.name)) > _LONGEST_NAME:
        raise OutputError(f"The name of the output {path} is too long.", hint=f"Use at most {_LONGEST_NAME} bytes.")
    if target.is_dir():
        raise OutputError(f"The output {path} is a folder.", hint="Name a file in it.")
    if not target.parent.is_dir():
        raise OutputError(f"The folder of the output {path} does not exist.", hint="Create it, or write elsewhere.")
    if target.exists() and not target.is_file():
        raise OutputError(f"The output {path} is a device or a pipe.", hint="Name a file.")
    return target


def _check_writable(path: Path) -> None:
    """Ask for the right to write without changing anything; on Windows this fails while a program holds the file."""
    if path.exists():
        with open(path, "r+b"):
            pass


def _files_of(name: str) -> Iterator[str]:
    """Yield the file that an argument names, and what belongs to it."""
    file = name if os.path.exists(name) else name.partition("|")[0]
    yield file
    path = Path(file)
    for end in _COMPANIONS.get(path.suffix.lower(), ()):
        yield from (str(path.with_suffix(case)) for case in (end, end.upper()))


def _is_in(path: Path, file: Path) -> bool:
    """Return whether a path is a file, or one of those in a folder."""
    if not os.path.exists(path):
        return False
    return Path(_real(path)).is_relative_to(_real(file)) if os.path.isdir(file) else _is_same(path, file)


def _is_same(first: Path, second: Path) -> bool:
    if os.path.exists(first) and os.path.exists(second):
        return os.path.samefile(first, second)
    return os.path.normcase(_real(first)) == os.path.normcase(_real(second))


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a name that no file can have
        return str(path)


def _is_full(folder: Path, error: Exception) -> bool:
    """Return whether a write failed for want of room. GDAL rarely says why; the system does."""
    number = getattr(error, "errno", None)
    if number is not None:
        return number in (errno.ENOSPC, errno.EDQUOT)
    return shutil.disk_usage(folder).free < _FULL
