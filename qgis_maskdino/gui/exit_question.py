"""Ask before QGIS is closed while a job runs: an hour of work would be gone."""

from __future__ import annotations

from qgis.gui import QgsApplicationExitBlockerInterface
from qgis.PyQt.QtWidgets import QMessageBox, QWidget

from qgis_maskdino.gui.job_message import TITLE
from qgis_maskdino.jobs.queue import JobQueue
from qgis_maskdino.translation import tr


class ExitQuestion(QgsApplicationExitBlockerInterface):
    """What QGIS asks before it closes."""

    def __init__(self, queue: JobQueue, window: QWidget) -> None:
        super().__init__()
        self._queue = queue
        self._window = window

    def allowExit(self) -> bool:
        """Return whether nothing runs, or the user lets go of it."""
        job = self._queue.running
        if job is None:
            return True
        question = tr("{} is still running. Close QGIS and cancel it?").format(job.title)
        return QMessageBox.question(self._window, TITLE, question) == QMessageBox.StandardButton.Yes
