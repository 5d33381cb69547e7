"""Run the stages of a job side by side: a thread each, linked by channels that hold a bounded number of items."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL = 0.05  # seconds between two looks at the stop events while a channel is full or empty
_END = object()


class Stopped(Exception):
    """Raised in a stage that wants to hand on work after the job was stopped; its thread ends quietly."""


class Channel(Generic[T]):
    """A bounded queue between two threads that gives up as soon as one of its stop events is set."""

    def __init__(self, size: int, *, stops: Sequence[threading.Event]) -> None:
        self._items: queue.Queue = queue.Queue(size)
        self._stops = stops

    def _stopped(self) -> bool:
        return any(stop.is_set() for stop in self._stops)

    def put(self, item: T) -> None:
        """Hand on an item, waiting for room.

        Raises:
            Stopped: the job was stopped.
        """
        while not self._stopped():
            try:
                return self._items.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise Stopped

    def end(self) -> None:
        """Say that nothing more comes."""
        self.put(_END)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[T]:
        """Yield items until the end or until the job is stopped, whichever comes first."""
        while not self._stopped():
            try:
                item = self._items.get(timeout=_POLL)
            except queue.Empty:
                continue
            if item is _END:
                return
            yield item


class Stages:
    """The threads of one job. The first error of any of them stops the others and is the one that surfaces."""

    def __init__(self) -> None:
        self.failed = threading.Event()
        self.seconds: dict[str, float] = {}
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def start(self, name: str, work: Callable[[], None], *, feeds: Channel | None = None) -> None:
        """Run ``work`` in a thread; the channel that it feeds ends with it.

        The threads are daemons: one that is deep in a call that cannot be interrupted, such as a slow model's forward
        pass, must not keep a cancelled program alive.
        """

        def run() -> None:
            try:
                work()
                if feeds is not None:
                    feeds.end()
            except Stopped:
                pass
            except BaseException as error:  # whatever it is, it must reach the thread that waits for the result
                self._fail(error)

        thread = threading.Thread(target=run, name=f"maskdino-{name}", daemon=True)
        self._threads[name] = thread
        thread.start()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
        self.failed.set()

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the time spent inside as work of this kind; each kind belongs to one thread."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started

    def running(self, *names: str) -> bool:
        """Say whether any of these threads is still at work."""
        return any(self._threads[name].is_alive() for name in names)

    def join(self, *names: str, timeout: float | None = None) -> None:
        """Wait for these threads, at most ``timeout`` seconds for each."""
        for name in names:
            self._threads[name].join(timeout)

    def raise_error(self) -> None:
        """Raise the first error of any stage in the calling thread, if there was one."""
        if self._error is not None:
            raise self._error
