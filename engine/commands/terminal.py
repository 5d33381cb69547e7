"""What a person at a terminal sees of a job, and how they stop it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

from engine.job import Job, Progress

FAILED = 1
CANCELLED = 130  # what a shell calls a program that Ctrl-C ended
_ONE_WISH = 0.5  # seconds within which signals count as one
_BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {unit}{desc}"


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Draw a progress bar on a terminal, nothing elsewhere; yield the function to report progress to."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from tqdm import tqdm

    with ExitStack() as drawn:
        bar = None

        def show(progress: Progress) -> None:
            nonlocal bar
            if bar is None:
                bar = drawn.enter_context(tqdm(total=progress.total, dynamic_ncols=True, bar_format=_BAR))
            bar.total, bar.n, bar.unit = progress.total, progress.done, progress.unit
            parts = [""]
            if progress.buildings is not None:
                parts.append(f"{progress.buildings} buildings")
            if progress.note:
                parts.append(progress.note)
            if progress.megapixels_per_second is not None:
                parts.append(f"{progress.megapixels_per_second:.2f} MPix/s")
            if progress.seconds_left is not None:
                parts.append(f"{tqdm.format_interval(progress.seconds_left)} left")
            bar.set_description_str(", ".join(parts))

        yield show


@contextmanager
def job_on_terminal() -> Iterator[Job]:
    """Yield a job whose progress a bar shows, and which Ctrl-C cancels."""
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            yield job


@contextmanager
def ctrl_c_sets(cancelled: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C end the job in good order, and a second one, a moment later, at once."""
    first: list[float] = []

    def interrupt(number: int, frame: object) -> None:
        cancelled.set()
        first.append(time.monotonic())
        # Whoever runs this program often passes on what the terminal sends it anyway: two signals, and one wish.
        if first[-1] - first[0] > _ONE_WISH:
            os._exit(CANCELLED)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ToTheEnd:
    """Standard output that outlives its reader: who watches a job is no reason to end it.

    Attributes:
        lost: what kept the last words from being written; None where nothing did, or where the reader has gone away.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write if that is possible."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            self._forget()
        except OSError as error:
            self.lost = error
            self._forget()

    def _forget(self) -> None:
        """Send to nowhere what Python would try to write again at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def keep_standard_streams() -> None:
    """Make sure that standard input, output and error are open, lest a raster takes the place of one, and that they last."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = ToTheEnd(sys.stdout or open(1, "w", closefd=False))  # noqa: SIM115


def leave(status: int, message: str) -> None:
    """Say one thing and end the program at once: a thread deep in the model's forward pass cannot be waited for."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"maskdino: {message}\n")):
        with suppress(OSError, ValueError):  # its reader has gone away, or the disk is full
            if stream is not None:  # closed from the beginning
                stream.write(text)
                stream.flush()
    os._exit(status)
