"""Run a program to its end from a worker thread: its lines as they come, and a cancel that ends it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from qgis.PyQt.QtCore import QElapsedTimer, QProcess, QProcessEnvironment

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.line_buffer import LineBuffer
from qgis_maskdino.translation import tr

SLICE = 100  # milliseconds between two looks at whether the job was cancelled
TAIL_LINES = 60


class ProgramResult:
    """How a program ended.

    Attributes:
        status: its exit status; None where it was cancelled, did not end in time, or crashed.
        output: the last lines of what it wrote, standard error included.
        cancelled: whether it was cancelled.
    """

    def __init__(self, status: int | None, output: str, *, cancelled: bool = False) -> None:
        self.status = status
        self.output = output
        self.cancelled = cancelled


def run_program(
    program: str,
    arguments: Sequence[str],
    *,
    variables: QProcessEnvironment,
    on_line: Callable[[str], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    seconds: float | None = None,
) -> ProgramResult:
    """Run a program and wait for its end, without a window, a shell, or an event loop.

    Args:
        program: the file to run.
        arguments: what it is given.
        variables: its environment.
        on_line: called with each line that it writes.
        is_cancelled: asked several times a second; the program is killed once it says yes.
        seconds: the longest that it may take.

    Raises:
        EngineError: it could not be started.
    """
    process = QProcess()
    process.setProgram(program)
    process.setArguments(list(arguments))
    process.setProcessEnvironment(variables)
    process.setProcessChannelMode(QProcess.ProcessChannelMode.MergedChannels)
    process.setStandardInputFile(QProcess.nullDevice())  # a program that asks a question gets no answer, and does not wait
    process.start()
    if not process.waitForStarted(10_000):
        raise EngineError(tr("{} could not be started: {}.").format(program, process.errorString()), code="start")
    clock = QElapsedTimer()
    clock.start()
    lines, tail = LineBuffer(), deque(maxlen=TAIL_LINES)
    running = True
    while running:
        ended = process.waitForFinished(SLICE)
        running = process.state() != QProcess.ProcessState.NotRunning
        for line in lines.take(process.readAllStandardOutput().data(), last=not running):
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                tail.append(text)
                if on_line is not None:
                    on_line(text)
        cancelled = is_cancelled is not None and is_cancelled()
        if not ended and running and (cancelled or (seconds is not None and clock.elapsed() > seconds * 1000)):
            process.kill()
            process.waitForFinished(2000)
            return ProgramResult(None, "\n".join(tail), cancelled=cancelled)
    crashed = process.exitStatus() == QProcess.ExitStatus.CrashExit
    return ProgramResult(None if crashed else process.exitCode(), "\n".join(tail))
