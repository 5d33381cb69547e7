"""Jobs that run behind the panel, one after another: one engine at a time, and QGIS stays usable. No widget is known here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Any

from qgis.PyQt.QtCore import QObject, pyqtSignal

from qgis_maskdino.backend.warm_engine import WarmEngine, engine_kept_warm
from qgis_maskdino.translation import tr

CLOSE_WITHIN = 5.0  # seconds; an engine ends a job within two, or is killed
IDLE_LIMIT = 300.0  # seconds that an engine waits for the next job; it holds about a gigabyte of memory


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
    """Runs one job at a time, all in one thread of its own, in the order in which they were added.

    They are no tasks of QGIS's task manager: until 3.26 QGIS announces the end of a task that took a while in the message
    bar ("Task complete", for a cancelled one too), on top of what the panel says. The thread keeps an engine between jobs.

    Signals:
        changed: a job was added, began or ended.
        event_received: a job and an event of it.
        ended: a job that is done, cancelled or failed.
    """

    changed = pyqtSignal()
    event_received = pyqtSignal(object, dict)
    ended = pyqtSignal(object)
    # Emitted in the thread of the jobs, received in the main thread.
    _run_spoke = pyqtSignal(object, dict)
    _run_ended = pyqtSignal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[Job] = []
        self._run: _Run | None = None
        self._worker: _Worker | None = None
        self._closed = False
        self._run_spoke.connect(self._on_event)
        self._run_ended.connect(self._on_end)

    @property
    def running(self) -> Job | None:
        """The job that runs."""
        return self._run.job if self._run is not None else None

    @property
    def waiting(self) -> list[Job]:
        """The jobs that wait, the next one first."""
        return list(self._waiting)

    @property
    def engine_is_warm(self) -> bool:
        """Whether the next job finds an engine that is started."""
        return self._worker is not None and self._worker.engine_is_warm

    def add(self, job: Job) -> None:
        """Run a job as soon as those before it have ended."""
        self._waiting.append(job)
        self._start_next()
        self.changed.emit()

    def cancel(self, job: Job) -> None:
        """Cancel a job that runs or waits; one that has ended is left as it is."""
        if self._run is not None and job is self._run.job:
            self._run.cancel()
        elif job in self._waiting:
            self._waiting.remove(job)
            self._end(job, JobState.CANCELLED)
            self.changed.emit()

    def close(self) -> None:
        """Cancel everything and wait until no job and no engine runs any more. Nothing is heard of them after that."""
        self._closed = True
        self._waiting.clear()
        if self._run is not None:
            self._run.cancel()
            self._run = None
        self.close_engine()

    def close_engine(self) -> None:
        """Let the engine go that waits for the next job, whose files may be about to be deleted."""
        if self._worker is not None and self._run is None:
            self._worker.stop()
            self._worker = None

    def _start_next(self) -> None:
        while self._run is None and self._waiting and not self._closed:
            job = self._waiting.pop(0)
            try:
                job.prepare()
            except JobError as error:
                job.error = error
                self._end(job, JobState.FAILED)
                continue
            job.state = JobState.RUNNING
            if self._worker is None:
                self._worker = _Worker(on_event=self._run_spoke.emit, on_end=self._run_ended.emit)
            self._run = _Run(job)
            self._worker.do(self._run)

    def _on_event(self, job: Job, event: dict[str, Any]) -> None:
        if not self._closed:
            self.event_received.emit(job, event)

    def _on_end(self, run: _Run) -> None:
        if self._closed or run is not self._run:
            return
        self._run = None
        job = run.job
        state = JobState.CANCELLED if run.cancelled.is_set() else JobState.DONE
        if job.error is None and not run.answered and state is JobState.DONE:
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


class _Run:
    """A job at work.

    Attributes:
        job: which.
        cancelled: set once it is to end.
        answered: whether it came to an end that it had foreseen.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cancelled = threading.Event()
        self.answered = False

    def cancel(self) -> None:
        """Let the job end. To be called in the main thread."""
        self.cancelled.set()
        self.job.cancel()


class _Worker:
    """The thread of the jobs, and the engine that it keeps between them."""

    def __init__(self, *, on_event: Callable[[Job, dict[str, Any]], None], on_end: Callable[[_Run], None]) -> None:
        self._on_event, self._on_end = on_event, on_end
        self._runs: SimpleQueue[_Run | None] = SimpleQueue()
        self._engine: WarmEngine | None = None
        self._thread = threading.Thread(target=self._work, name="maskdino-jobs", daemon=True)  # QGIS can end while one hangs
        self._thread.start()

    @property
    def engine_is_warm(self) -> bool:
        return self._engine is not None and self._engine.is_there

    def do(self, run: _Run) -> None:
        """Do a job after those before it."""
        self._runs.put(run)

    def stop(self) -> None:
        """End thread and engine; what runs was cancelled before."""
        self._runs.put(None)
        self._thread.join(CLOSE_WITHIN)

    def _work(self) -> None:
        with engine_kept_warm() as self._engine:
            while True:
                try:
                    run = self._runs.get(timeout=IDLE_LIMIT)
                except Empty:
                    self._engine.close()
                    continue
                if run is None:
                    return
                self._do(run)

    def _do(self, run: _Run) -> None:
        try:
            run.job.results = run.job.work(lambda event: self._on_event(run.job, event), run.cancelled.is_set)
            run.answered = True
        except JobError as error:
            run.job.error = error
        except Exception:
            sys.excepthook(*sys.exc_info())  # QGIS logs what comes here; Python would print it where nobody looks
        finally:
            self._on_end(run)
