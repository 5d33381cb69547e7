"""The strip at the foot of the dock: the job that runs, how far it is, those that wait, and how the last one ended."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from qgis_maskdino.gui.pages.page import note
from qgis_maskdino.jobs.progress_text import is_finishing, progress_text
from qgis_maskdino.jobs.queue import Job, JobQueue, JobState
from qgis_maskdino.translation import tr

_WARNINGS = 3  # the message bar's details have all of them


class JobStrip(QWidget):
    """Shows a queue and lets the user cancel what is in it. Hidden until there is something to show."""

    def __init__(self, queue: JobQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._queue = queue
        self._shown: Job | None = None
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.cancel_button = QToolButton()
        self.cancel_button.setIcon(QgsApplication.getThemeIcon("/mTaskCancel.svg"))
        self.cancel_button.setText(tr("Cancel"))
        self.cancel_button.setAccessibleName(tr("Cancel"))
        self.cancel_button.clicked.connect(self._cancel)
        self.bar = QProgressBar()
        self.status = note()
        self._waiting = QVBoxLayout()
        self._waiting.setContentsMargins(0, 0, 0, 0)

        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(9, 6, 9, 9)
        layout.addWidget(self.title)
        layout.addLayout(row)
        layout.addWidget(self.status)
        layout.addLayout(self._waiting)
        queue.changed.connect(self._show_queue)
        queue.event_received.connect(self._on_event)
        queue.ended.connect(self._show_end)
        self.hide()

    def _cancel(self) -> None:
        if self._queue.running is not None:
            self.cancel_button.setEnabled(False)
            self.status.setText(" ".join([tr("Ending …"), self._queue.running.kept()]))
            self._queue.cancel(self._queue.running)

    def _show_queue(self) -> None:
        job = self._queue.running
        if job is not None and job is not self._shown:
            self.title.setText(job.title)
            self.status.setText(tr("Starting the engine …"))
            self.bar.setRange(0, 0)
            self.cancel_button.setEnabled(True)
            self.cancel_button.setToolTip(" ".join([tr("Cancel this job."), job.kept()]))
        self._shown = job
        self.bar.setVisible(job is not None)
        self.cancel_button.setVisible(job is not None)
        self._show_waiting()
        self.setVisible(bool(job or self._queue.waiting or self.status.text()))

    def _show_waiting(self) -> None:
        while self._waiting.count():
            widget = self._waiting.takeAt(0).widget()
            widget.hide()
            widget.deleteLater()
        for job in self._queue.waiting:
            self._waiting.addWidget(_WaitingJob(job, self._queue))

    def _on_event(self, job: Job, event: dict[str, Any]) -> None:
        if not self.cancel_button.isEnabled():
            return  # it is ending; how far it was no longer matters
        if event.get("event") == "progress":
            total = 0 if is_finishing(event) else event.get("total") or 0
            self.bar.setRange(0, 1000 if total else 0)
            self.bar.setValue(round(1000 * event["done"] / total) if total else 0)
            self.status.setText(progress_text(event))
        elif event.get("event") == "log":
            self.status.setToolTip(str(event.get("message", "")))
            if self.bar.maximum() == 0:
                self.status.setText(str(event.get("message", "")))

    def _show_end(self, job: Job) -> None:
        if self._queue.running is not None:
            return  # one that waited was taken out
        self.title.setText(job.title)
        self.status.setToolTip("")
        self.status.setText("\n".join([_ending(job), *(f"⚠ {warning}" for warning in job.warnings[:_WARNINGS])]))


class _WaitingJob(QWidget):
    def __init__(self, job: Job, queue: JobQueue) -> None:
        super().__init__()
        text = note(tr("Waits: {}").format(job.title))
        button = QToolButton()
        button.setAutoRaise(True)
        button.setIcon(QgsApplication.getThemeIcon("/mTaskCancel.svg"))
        button.setToolTip(tr("Take this job out of the queue."))
        button.clicked.connect(lambda: queue.cancel(job))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(text, 1)
        layout.addWidget(button)


def _ending(job: Job) -> str:
    if job.state is JobState.FAILED and job.error is not None:
        return str(job.error)
    if job.state is JobState.CANCELLED:
        return job.summary() or tr("Cancelled.")
    return job.summary() or tr("Done.")
