"""Jobs that run behind the panel, one after another: one engine at a time, and QGIS stays usable. No widget is known here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

from qgis.PyQt.QtCore import QObject, pyqtSignal

from qgis_maskdino.translation import tr

CLOSE_WITHIN = 5.0  # seconds; an engine ends a job within two, or is killed


class JobState(Enum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class JobError(Exception):
    """A job that failed, told to a person.

    Args:
        message: one sentence.
        hint: the way out, if there is one.
        details: what a "Details" button shows: the log's end, what the engine wrote.
    """

    def __init__(self, message: str, *, hint: str | None = None, details: str = "") -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.details = details


class Job:
    """Something that takes long. ``prepare`` and ``finish`` run in the main thread, ``work`` in another.

    Attributes:
        title: what people see, such as "Detect buildings in town".
        state: where it stands; changed in the main thread alone.
        error: why it failed.
        results: what it brought; of a cancelled job, what it brought until then.
        warnings: what people should know of a job that did not fail.
        offer: what may be done about its result, and only if the user wants it: the text of a button, and what that does.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.state = JobState.WAITING
        self.error: JobError | None = None
        self.results: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.offer: tuple[str, Callable[[], None]] | None = None

    def prepare(self) -> None:
        """Get ready, in the main thread: what the thread will need of layers and project is copied now.

        Raises:
            JobError: the job cannot be done.
        """

    def work(self, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        """Do the work, in another thread.

        Args:
            on_event: takes events: ``progress`` (done, total, unit, ...), ``log`` (level, message) as the engine sends them.
            is_cancelled: asked several times a second.

        Raises:
            JobError: it failed.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Hear, in the main thread, that the job was cancelled, where being asked is not enough."""

    def kept(self) -> str:
        """Return what a cancel leaves; empty where that is nothing."""
        return ""

    def summary(self) -> str:
        """Say in a line what came of the job; empty where there is nothing to say."""
        return ""

    def finish(self) -> None:
        """Take in the results, in the main thread, also of a job that was cancelled.

        Raises:
            JobError: what came cannot be used.
        """


class JobQueue(QObject):
    """Runs one job at a time, each in a thread of its own, in the order in which they were added.

    They are no tasks of QGIS's task manager: until 3.26 QGIS announces the end of a task that took a while in the message
    bar ("Task complete", for a cancelled one too), on top of what the panel says.

    Signals:
        changed: a job was added, began or ended.
        event_received: a job and an event of it.
        ended: a job that is done, cancelled or failed.
    """

    changed = pyqtSignal()
    event_received = pyqtSignal(object, dict)
    ended = pyqtSignal(object)
    # Emitted in the thread of a job, received in the main thread.
    _thread_spoke = pyqtSignal(object, dict)
    _thread_ended = pyqtSignal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[Job] = []
        self._thread: _JobThread | None = None
        self._closed = False
        self._thread_spoke.connect(self._on_event)
        self._thread_ended.connect(self._on_thread_ended)

    @property
    def running(self) -> Job | None:
        """The job that runs."""
        return self._thread.job if self._thread is not None else None

    @property
    def waiting(self) -> list[Job]:
        """The jobs that wait, the next one first."""
        return list(self._waiting)

    def add(self, job: Job) -> None:
        """Run a job as soon as those before it have ended."""
        self._waiting.append(job)
        self._start_next()
        self.changed.emit()

    def cancel(self, job: Job) -> None:
        """Cancel a job that runs or waits; one that has ended is left as it is."""
        if self._thread is not None and job is self._thread.job:
            self._thread.cancel()
        elif job in self._waiting:
            self._waiting.remove(job)
            self._end(job, JobState.CANCELLED)
            self.changed.emit()

    def close(self) -> None:
        """Cancel everything and wait until no job runs any more. Nothing is heard of them after that."""
        self._closed = True
        self._waiting.clear()
        if self._thread is not None:
            self._thread.cancel()
            self._thread.join(CLOSE_WITHIN)
            self._thread = None

    def _start_next(self) -> None:
        while self._thread is None and self._waiting and not self._closed:
            job = self._waiting.pop(0)
            try:
                job.prepare()
            except JobError as error:
                job.error = error
                self._end(job, JobState.FAILED)
                continue
            job.state = JobState.RUNNING
            self._thread = _JobThread(job, on_event=self._thread_spoke.emit, on_end=self._thread_ended.emit)
            self._thread.start()

    def _on_event(self, job: Job, event: dict[str, Any]) -> None:
        if not self._closed:
            self.event_received.emit(job, event)

    def _on_thread_ended(self, thread: _JobThread) -> None:
        if self._closed or thread is not self._thread:
            return
        self._thread = None
        job = thread.job
        state = JobState.CANCELLED if thread.cancelled.is_set() else JobState.DONE
        if job.error is None and not thread.answered and state is JobState.DONE:
            job.error = JobError(tr("The job ended without an answer; QGIS's log of Python errors says why."))
        if job.error is None:
            try:
                job.finish()
            except JobError as error:
                job.error = error
        self._end(job, state if job.error is None else JobState.FAILED)
        self._start_next()
        self.changed.emit()

    def _end(self, job: Job, state: JobState) -> None:
        job.state = state
        self.ended.emit(job)


class _JobThread(threading.Thread):
    """A job at work.

    Attributes:
        job: which.
        cancelled: set once it is to end.
        answered: whether it came to an end that it had foreseen.
    """

    def __init__(
        self, job: Job, *, on_event: Callable[[Job, dict[str, Any]], None], on_end: Callable[[_JobThread], None]
    ) -> None:
        super().__init__(name="maskdino-job", daemon=True)  # QGIS can end while one hangs
        self.job = job
        self.cancelled = threading.Event()
        self.answered = False
        self._on_event = on_event
        self._on_end = on_end

    def run(self) -> None:
        try:
            self.job.results = self.job.work(lambda event: self._on_event(self.job, event), self.cancelled.is_set)
            self.answered = True
        except JobError as error:
            self.job.error = error
        except Exception:
            sys.excepthook(*sys.exc_info())  # QGIS logs what comes here; Python would print it where nobody looks
        finally:
            self._on_end(self)

    def cancel(self) -> None:
        """Let the job end. To be called in the main thread."""
        self.cancelled.set()
        self.job.cancel()
