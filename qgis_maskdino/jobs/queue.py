"""Jobs that run behind the panel, one after another: one engine at a time, and QGIS stays usable. No widget is known here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

from qgis.core import QgsApplication, QgsTask
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
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.state = JobState.WAITING
        self.error: JobError | None = None
        self.results: dict[str, Any] = {}
        self.warnings: list[str] = []

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
    """Runs one job at a time, each in a task of QGIS, in the order in which they were added.

    Signals:
        changed: a job was added, began or ended.
        event_received: a job and an event of it.
        ended: a job that is done, cancelled or failed.
    """

    changed = pyqtSignal()
    event_received = pyqtSignal(object, dict)
    ended = pyqtSignal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[Job] = []
        self._task: _JobTask | None = None
        self._closed = False

    @property
    def running(self) -> Job | None:
        """The job that runs."""
        return self._task.job if self._task is not None else None

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
        if self._task is not None and job is self._task.job:
            self._task.cancel()
        elif job in self._waiting:
            self._waiting.remove(job)
            self._end(job, JobState.CANCELLED)
            self.changed.emit()

    def close(self) -> None:
        """Cancel everything and wait until no job runs any more. Nothing is heard of them after that."""
        self._closed = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            self._task.has_ended.wait(CLOSE_WITHIN)
            self._task = None

    def _start_next(self) -> None:
        while self._task is None and self._waiting and not self._closed:
            job = self._waiting.pop(0)
            try:
                job.prepare()
            except JobError as error:
                job.error = error
                self._end(job, JobState.FAILED)
                continue
            job.state = JobState.RUNNING
            self._task = _JobTask(job, on_event=self._on_event, ended=self._task_ended)
            QgsApplication.taskManager().addTask(self._task)

    def _on_event(self, job: Job, event: dict[str, Any]) -> None:
        if not self._closed:
            self.event_received.emit(job, event)

    def _task_ended(self, task: _JobTask) -> None:
        if self._closed or task is not self._task:
            return
        self._task = None
        job = task.job
        state = JobState.CANCELLED if task.isCanceled() else JobState.DONE
        if job.error is None and not task.answered and state is JobState.DONE:
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


# The panel tells the end of a job itself, with more to say; QGIS before 3.26 does so too.
_FLAGS = QgsTask.Flag.CanCancel | getattr(QgsTask.Flag, "Silent", QgsTask.Flag.CanCancel)


class _JobTask(QgsTask):
    """A job in a thread of QGIS's task manager, which shows it in the status bar too."""

    spoke = pyqtSignal(object, dict)

    def __init__(self, job: Job, *, on_event: Callable[[Job, dict], None], ended: Callable[[_JobTask], None]) -> None:
        super().__init__(job.title, _FLAGS)
        self.job = job
        self.answered = False
        self.has_ended = threading.Event()
        self._ended = ended
        self.spoke.connect(on_event)

    def run(self) -> bool:
        try:
            self.job.results = self.job.work(self._on_event, self.isCanceled)
            self.answered = True
        except JobError as error:
            self.job.error = error
        finally:
            self.has_ended.set()
        return self.answered

    def finished(self, result: bool) -> None:
        self._ended(self)

    def cancel(self) -> None:
        super().cancel()
        self.job.cancel()

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "progress" and event.get("total"):
            self.setProgress(100.0 * event["done"] / event["total"])
        self.spoke.emit(self.job, event)
