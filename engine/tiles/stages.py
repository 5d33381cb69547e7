"""Run the stages of a job side by side: a thread each, linked by channels that hold a bounded number of items.

Where one thread is not enough for a stage, a thread pool does its work: the stage submits item after item and puts the futures
into the channel, where the next stage takes their results in the order of the items, whichever was done first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Generic, ParamSpec, TypeVar

from engine.errors import CancelledError

T = TypeVar("T")
P = ParamSpec("P")

_POLL = 0.05  # seconds between two looks at the stop events while a channel is full or empty
_WATCH_EVERY = 0.2  # seconds
_END = object()


class Stopped(Exception):
    """Raised in a stage that wants to hand on work after the job was stopped; its thread ends quietly."""


class Channel(Generic[T]):
    """A bounded queue between two threads that gives up as soon as one of its stop events is set."""

    def __init__(self, size: int, *, stops: Sequence[threading.Event]) -> None:
        self._items: queue.Queue = queue.Queue(size)
        self._stops = stops

    def stopped(self) -> bool:
        """Return whether one of its stop events is set."""
        return any(stop.is_set() for stop in self._stops)

    def put(self, item: T) -> None:
        """Hand on an item, waiting for room.

        Raises:
            Stopped: the job was stopped.
        """
        while not self.stopped():
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
        while not self.stopped():
            try:
                item = self._items.get(timeout=_POLL)
            except queue.Empty:
                continue
            if item is _END:
                return
            yield item


def results_of(pending: Channel[futures.Future[T]]) -> Iterator[T]:
    """Yield the results of futures, in the order in which they were submitted, until their end or until the job is stopped.

    Raises:
        Exception: what the work for the next item raised.
    """
    for future in pending:
        while not pending.stopped():
            done, _ = futures.wait([future], timeout=_POLL)
            if done:
                yield future.result()
                break


class ThreadPool:
    """Threads that share the items of one stage."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = futures.ThreadPoolExecutor(threads, thread_name_prefix=f"maskdino-{name}")
        self._begun: set[futures.Future] = set()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> futures.Future[T]:
        """Submit work, which begins as soon as one of the threads is free."""
        future = self._pool.submit(work, *args, **kwargs)
        self._begun.add(future)
        future.add_done_callback(self._begun.discard)
        return future

    def shutdown(self, *, timeout: float) -> bool:
        """Begin nothing more and wait for what was begun. Return whether all of it ended in time."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        ended = not futures.wait(list(self._begun), timeout=timeout).not_done
        if ended:
            self._pool.shutdown()  # its threads have nothing left to do but to end
        return ended


class Stages:
    """The threads of one job. The first error of any of them stops the others and is the one that surfaces."""

    def __init__(self) -> None:
        self.failed = threading.Event()
        self._seconds: dict[str, float] = {}
        self._at_work: dict[str, int] = {}  # threads
        self._since: dict[str, float] = {}
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

    @property
    def seconds(self) -> dict[str, float]:
        """How long work of each kind went on: the time in which at least one thread was at it."""
        with self._lock:
            return dict(self._seconds)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the time spent inside as work of this kind, once however many threads are inside."""
        with self._lock:
            self._at_work[what] = self._at_work.get(what, 0) + 1
            if self._at_work[what] == 1:
                self._since[what] = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._at_work[what] -= 1
                if not self._at_work[what]:
                    self._seconds[what] = self._seconds.get(what, 0.0) + time.perf_counter() - self._since[what]

    def was_started(self, name: str) -> bool:
        """Return whether there is a thread of this name, at work or done."""
        return name in self._threads

    def running(self, *names: str) -> bool:
        """Return whether any of these threads is still at work."""
        return any(self._threads[name].is_alive() for name in names)

    def join(self, *names: str, timeout: float | None = None) -> None:
        """Wait for these threads, at most ``timeout`` seconds for each."""
        for name in names:
            self._threads[name].join(timeout)

    def watch(self, *names: str, look: Callable[[], None]) -> None:
        """Wait for these threads, and meanwhile call ``look`` a few times a second, in the calling thread."""
        while running := [name for name in names if self.running(name)]:
            self.join(running[0], timeout=_WATCH_EVERY)
            look()

    def raise_error(self) -> None:
        """Raise the first error of any stage in the calling thread, if there was one."""
        if self._error is not None:
            raise self._error


def interruptible(function: Callable[[], T], wants_cancel: Callable[[], bool]) -> T:
    """Call a function in a thread of its own, so that a cancel is heard while it loads a model or looks over a raster.

    Raises:
        CancelledError: cancelled before it was done.
    """
    made: list[T] = []
    stages = Stages()
    cancelled = CancelledError("Cancelled before anything was found.")
    if wants_cancel():  # or it would be quick enough, now and then, to be done before anybody asks
        raise cancelled
    stages.start("opening", lambda: made.append(function()))
    while stages.running("opening"):
        if wants_cancel():
            raise cancelled
        stages.join("opening", timeout=_POLL)
    stages.raise_error()
    return made[0]
