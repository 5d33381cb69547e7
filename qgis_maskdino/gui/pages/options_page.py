"""The plugin's page of QGIS's options: the engine's interpreter, its device, the user's models, and the packages' address."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtWidgets import QGroupBox, QHBoxLayout, QLineEdit, QMessageBox, QPushButton, QVBoxLayout, QWidget

from qgis_maskdino import settings
from qgis_maskdino.backend.environment import EngineEnvironment, State
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.gui.device_picker import DevicePicker
from qgis_maskdino.gui.job_message import DetailsDialog
from qgis_maskdino.gui.pages.page import form, note
from qgis_maskdino.icons import LOGO, icon
from qgis_maskdino.jobs.algorithm import LOG_TAG
from qgis_maskdino.jobs.installation import InstallationJob
from qgis_maskdino.jobs.queue import Job, JobError, JobQueue, JobState
from qgis_maskdino.translation import tr

PAGE_NAME = "maskdino_options"


class OptionsFactory(QgsOptionsWidgetFactory):
    """Makes the page when the options are opened.

    Args:
        environment: of the engine.
        queue: runs what takes long.
        applied: called when settings may have changed.
    """

    def __init__(self, environment: EngineEnvironment, queue: JobQueue, applied: Callable[[], None]) -> None:
        super().__init__(tr("Mask DINO"), icon(LOGO))
        self._environment = environment
        self._queue = queue
        self._applied = applied

    def createWidget(self, parent: QWidget | None = None) -> QgsOptionsPageWidget:
        return OptionsPage(self._environment, self._queue, self._applied, parent)


class CheckJob(Job):
    """Lets the engine say what is installed, what runs, and why."""

    def __init__(self, environment: EngineEnvironment) -> None:
        super().__init__(tr("Check the Mask DINO engine"))
        self._environment = environment

    def work(self, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        try:
            return self._environment.check(is_cancelled=is_cancelled)
        except EngineError as error:
            raise JobError(error.message, hint=error.hint, details=error.details) from error

    def summary(self) -> str:
        detection = self.results.get("detection", {})
        if not detection:
            return ""
        if not detection.get("succeeded"):
            return tr("A small detection failed: {}").format(detection.get("error"))
        return tr("All is well: a small detection took {} s on {}.").format(detection.get("seconds"), detection.get("device"))


class OptionsPage(QgsOptionsPageWidget):
    """Shows the settings; keeps them when the options are closed with OK."""

    def __init__(
        self,
        environment: EngineEnvironment,
        queue: JobQueue,
        applied: Callable[[], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(PAGE_NAME)
        self._applied = applied
        self._environment = environment
        self._queue = queue
        self._job: Job | None = None
        self.python = QgsFileWidget()
        self.python.setFilePath(settings.python())
        self.python.lineEdit().setPlaceholderText(tr("The engine's own, see below"))
        self.python.setToolTip(tr("A Python 3.10 or later with the engine's packages. Empty: the plugin's own installation."))
        self.device = DevicePicker()
        self.models = QgsFileWidget()
        self.models.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.models.setFilePath(settings.model_folder())
        self.models.setToolTip(tr("Model files (.safetensors) in this folder are offered in the panel."))
        self.index = QLineEdit(settings.package_index())
        self.index.setPlaceholderText(tr("The public ones: pypi.org and download.pytorch.org"))
        self.index.setToolTip(tr("Where packages are fetched from, where the public places cannot be reached."))
        self.condition = note()
        self.check_button = QPushButton(tr("Check"))
        self.check_button.setToolTip(tr("Say what is installed, and try a small detection."))
        self.repair_button = QPushButton(tr("Repair"))
        self.remove_button = QPushButton(tr("Remove"))
        self.check_button.clicked.connect(self._check)
        self.repair_button.clicked.connect(self._repair)
        self.remove_button.clicked.connect(self._remove)
        self.python.fileChanged.connect(lambda path: self.refresh())

        fields = form()
        fields.addRow(tr("&Interpreter"), self.python)
        fields.addRow(tr("&Device"), self.device)
        fields.addRow(tr("&Model folder"), self.models)
        fields.addRow(tr("&Package index"), self.index)
        buttons = QHBoxLayout()
        for button in (self.check_button, self.repair_button, self.remove_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        group = QGroupBox(tr("Engine"))
        inside = QVBoxLayout(group)
        inside.addWidget(self.condition)
        inside.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.addLayout(fields)
        layout.addWidget(group)
        layout.addStretch(1)
        queue.ended.connect(self._ended)
        self.refresh()

    def apply(self) -> None:
        """Keep what was entered."""
        settings.set_python(self.python.filePath())
        settings.set_device(self.device.device())
        settings.set_model_folder(self.models.filePath())
        settings.set_package_index(self.index.text())
        self._applied()

    def refresh(self, sentence: str = "") -> None:
        """Show how the engine is, with the interpreter that is entered now."""
        condition = self._environment.condition(entered=self.python.filePath())
        self.condition.setText(sentence or condition.sentence)
        idle = self._job is None
        self.check_button.setEnabled(idle and condition.state is State.READY)
        self.repair_button.setText(tr("Install") if condition.state is State.MISSING else tr("Repair"))
        self.repair_button.setEnabled(idle and condition.private)
        self.remove_button.setEnabled(idle and condition.private and condition.state is not State.MISSING)
        self.repair_button.setToolTip("")
        if not condition.private:
            self.repair_button.setToolTip(tr("The interpreter was chosen by you; the plugin changes only what it made itself."))

    def _check(self) -> None:
        self.apply()  # it is what was entered that is checked
        self._run(CheckJob(self._environment))

    def _repair(self) -> None:
        self.apply()  # the address of the packages may just have been entered
        self._run(InstallationJob(self._environment, repair=self._environment.state() is not State.MISSING))

    def _run(self, job: Job) -> None:
        self._job = job
        self.refresh(tr("{} …").format(job.title))
        self._queue.add(job)

    def _remove(self) -> None:
        question = tr("Delete the engine's installation in {}? It can be installed again at any time.")
        answer = QMessageBox.question(self, LOG_TAG, question.format(self._environment.folder()))
        if answer != QMessageBox.StandardButton.Yes:
            return
        self._queue.close_engine()
        try:
            self._environment.remove()
        except EngineError as error:
            self.refresh(str(error))
        else:
            self.refresh()
            self._applied()

    def _ended(self, job: Job) -> None:
        if job is not self._job:
            return
        self._job = None
        self.refresh(str(job.error) if job.state is JobState.FAILED else job.summary())
        if isinstance(job, CheckJob) and job.state is JobState.DONE:
            report = json.dumps(job.results, indent=2, ensure_ascii=False)
            DetailsDialog(job.summary(), report, self).open()
