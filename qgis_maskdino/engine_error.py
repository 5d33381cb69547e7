"""What goes wrong with an engine, told to a person: one sentence, a way out, and the engine's own words as details."""

from __future__ import annotations

import re
import signal

# What Windows calls the ends that a person can do something about (NTSTATUS).
_WINDOWS_NO_LIBRARY = {0xC0000135, 0xC0000139, 0xC000007B}
_WINDOWS_NO_MEMORY = {0xC0000017, 0xC000012D}

_REPAIR = "Repair the engine under Settings > Options > Mask DINO."
_LESS_MEMORY = (
    "Close other programs, detect in a smaller area, or choose the CPU as device where the graphics card's memory is short."
)


class EngineError(Exception):
    """An engine that could not be started, that died, or that answered with an error.

    Args:
        message: one sentence for a person.
        code: the kind of error. The engine's own (see ``engine/errors.py``: argument, raster, raster_fit, vector, output,
            model_file, device, memory, internal ...) or one of ours: missing, start, protocol, died, library, interpreter.
        hint: the way out, if there is one.
        details: the end of what the engine wrote to standard error, for a log or a "Details" button.
    """

    def __init__(self, message: str, *, code: str = "failed", hint: str | None = None, details: str = "") -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message = message
        self.code = code
        self.hint = hint
        self.details = details


def explain_death(exit_code: int, *, crashed: bool, stderr: str) -> EngineError:
    """Say why an engine ended that nobody had asked to end.

    Args:
        exit_code: its exit status; the number of the signal where it was ended by one and the system tells.
        crashed: whether it was ended by a signal or an exception of the system.
        stderr: the end of what it wrote to standard error.
    """
    code, message, hint = _cause(exit_code, crashed, stderr)
    return EngineError(message, code=code, hint=hint, details=stderr)


def _cause(exit_code: int, crashed: bool, stderr: str) -> tuple[str, str, str]:
    status = exit_code & 0xFFFFFFFF
    if status in _WINDOWS_NO_MEMORY or re.search(r"MemoryError|bad_alloc|[Oo]ut of memory|Cannot allocate memory", stderr):
        return "memory", "The engine ran out of memory.", _LESS_MEMORY
    if (crashed and exit_code == signal.SIGTERM) or exit_code == 128 + signal.SIGTERM:
        return "died", "The engine was ended by another program or by the system.", "Start the job again."
    if (crashed and exit_code == 9) or exit_code == 137:
        said = "The engine was killed by the system, most likely because the memory ran out, or by another program."
        return "memory", said, _LESS_MEMORY
    missing = re.search(r"No module named '?([\w.]+)'?", stderr)
    if missing:
        name = missing[1]
        if name.partition(".")[0] in ("engine", "training"):
            return "interpreter", "This Python interpreter has no Mask DINO engine.", _REPAIR
        return "library", f"The engine's Python lacks the package '{name}'.", _REPAIR
    library = re.search(
        r"(?:ImportError|OSError): (.*(?:cannot open shared object|DLL load failed|Library not loaded).*)", stderr
    )
    if library or status in _WINDOWS_NO_LIBRARY:
        what = f": {library[1]}" if library else ""
        return "library", f"The engine lacks a library of the system{what}.", _REPAIR
    if "SyntaxError" in stderr:
        return "interpreter", "This Python interpreter is too old for the engine: it needs 3.10 or later.", _REPAIR
    last = stderr.strip().splitlines()[-1:]
    if crashed:
        return "died", f"The engine crashed (signal or status {status if status > 255 else exit_code}).", _REPAIR
    return "died", f"The engine ended with status {exit_code}{': ' + last[0].rstrip('.') if last else ''}.", _REPAIR
