"""What goes wrong with an engine, told to a person: one sentence, a way out, and the engine's own words as details."""

from __future__ import annotations

import re
import signal

from qgis_maskdino.translation import tr

# What Windows calls the ends that a person can do something about (NTSTATUS).
_WINDOWS_NO_LIBRARY = {0xC0000135, 0xC0000139, 0xC000007B}
_WINDOWS_NO_MEMORY = {0xC0000017, 0xC000012D}
_KILLED = 9  # SIGKILL, which Windows' Python does not know


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
    """Return why an engine ended that nobody had asked to end.

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
        return "memory", tr("The engine ran out of memory."), _less_memory()
    # A shell that stands between reports the signal 128 higher. Asked to terminate, the engine itself ends with status 0.
    signalled = exit_code if crashed else exit_code - 128
    if signalled == signal.SIGTERM or (exit_code == 0 and not crashed):
        return "died", tr("The engine was ended by another program or by the system."), tr("Start the job again.")
    if signalled == _KILLED:
        sentence = tr("The engine was killed by the system, most likely because the memory ran out, or by another program.")
        return "memory", sentence, _less_memory()
    if status in _WINDOWS_NO_LIBRARY:
        return "library", tr("The engine lacks a library of the system."), repair_hint()
    if crashed:
        sentence = tr("The engine crashed (signal or status {}).").format(status if status > 255 else exit_code)
        return "died", sentence, repair_hint()
    return _cause_in_python(exit_code, stderr)


def _cause_in_python(exit_code: int, stderr: str) -> tuple[str, str, str]:
    missing = re.search(r"No module named '?([\w.]+)'?", stderr)
    if missing and missing[1].partition(".")[0] in ("engine", "training"):
        return "interpreter", tr("This Python interpreter has no Mask DINO engine."), repair_hint()
    if missing:
        return "library", tr("The engine's Python lacks the package '{}'.").format(missing[1]), repair_hint()
    library = re.search(r"Error: (.*(?:cannot open shared object|DLL load failed|Library not loaded).*)", stderr)
    if library:
        return "library", tr("The engine lacks a library of the system: {}.").format(library[1]), repair_hint()
    if "SyntaxError" in stderr:
        sentence = tr("This Python interpreter is too old for the engine: it needs 3.10 or later.")
        return "interpreter", sentence, repair_hint()
    last = stderr.strip().splitlines()[-1:]
    if last:
        sentence = tr("The engine ended with status {}: {}.").format(exit_code, last[0].rstrip("."))
    else:
        sentence = tr("The engine ended with status {}.").format(exit_code)
    return "died", sentence, repair_hint()


def repair_hint() -> str:
    """Return the way out where the engine itself is at fault."""
    return tr("Repair the engine under Settings > Options > Mask DINO, or choose another interpreter there.")


def _less_memory() -> str:
    return tr(
        "Close other programs, detect in a smaller area, or choose the CPU as device where the graphics card's memory is short."
    )
