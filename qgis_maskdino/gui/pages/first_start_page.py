"""What the dock shows while there is no engine: what will be installed, where, how large, and a button that does it."""

from __future__ import annotations

from typing import Any

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtGui import QFontDatabase
from qgis.PyQt.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from qgis_maskdino import settings
from qgis_maskdino.backend.environment import EngineEnvironment, State
from qgis_maskdino.backend.installation.base_python import find_uv
from qgis_maskdino.backend.installation.package_index import cuda_of_driver
from qgis_maskdino.gui.pages.page import note
from qgis_maskdino.icons import LOGO, icon
from qgis_maskdino.jobs.installation import InstallationJob
from qgis_maskdino.jobs.queue import Job, JobQueue, JobState
from qgis_maskdino.translation import tr

_LOGO_SIZE = 48
_LOG_LINES = 2000


class FirstStartPage(QWidget):
    """Installs the engine.

    Signals:
        options_wanted: the user would rather name an interpreter.
    """

    options_wanted = pyqtSignal()

    def __init__(self, environment: EngineEnvironment, queue: JobQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._environment = environment
        self._queue = queue
        logo = QLabel()
        logo.setPixmap(icon(LOGO).pixmap(_LOGO_SIZE, _LOGO_SIZE))
        title = QLabel("<b>" + tr("One step before the first detection") + "</b>")
        title.setWordWrap(True)
        head = QHBoxLayout()
        head.addWidget(logo)
        head.addWidget(title, 1)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.condition = note()
        self.install_button = QPushButton()
        self.install_button.setDefault(True)
        self.install_button.setMinimumHeight(32)
        self.install_button.clicked.connect(self.install)
        self.cancel_button = QPushButton(tr("Cancel"))
        self.cancel_button.clicked.connect(self._cancel)
        self.options_button = QPushButton(tr("Use an existing Python …"))
        self.options_button.setToolTip(tr("Name an interpreter that has the engine's packages, in the plugin's options."))
        self.options_button.clicked.connect(self.options_wanted)
        self.step = note()
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(_LOG_LINES)
        self.log.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.log.setAccessibleName(tr("Log of the installation"))

        layout = QVBoxLayout(self)
        layout.addLayout(head)
        for widget in (self.text, self.condition, self.install_button, self.bar, self.step, self.log):
            layout.addWidget(widget, 1 if widget is self.log else 0)
        layout.addWidget(self.cancel_button)
        layout.addWidget(self.options_button)
        self._filler = QWidget()
        layout.addWidget(self._filler, 1)
        queue.changed.connect(self.refresh)
        queue.event_received.connect(self._on_event)
        queue.ended.connect(self._ended)
        self.refresh()

    def install(self) -> None:
        """Begin the installation."""
        if self._installation() is None:
            self.log.clear()
            if not self._environment.condition().private:
                settings.set_python("")  # it cannot be used, and would be asked for again
            self._queue.add(InstallationJob(self._environment, repair=self._environment.state() is not State.MISSING))

    def refresh(self) -> None:
        """Show how the environment is now."""
        condition = self._environment.condition()
        installing = self._installation() is not None
        self.text.setText(_what(self._environment))
        self.condition.setText(condition.sentence if condition.state is not State.MISSING else "")
        self.condition.setVisible(condition.state is not State.MISSING and not installing)
        repairs = condition.private and condition.state is not State.MISSING
        self.install_button.setText(tr("Repair") if repairs else tr("Install"))
        self.install_button.setVisible(not installing and condition.installable)
        self.options_button.setVisible(not installing)
        for widget in (self.bar, self.step, self.cancel_button):
            widget.setVisible(installing)
        self.log.setVisible(installing or bool(self.log.toPlainText()))
        self._filler.setVisible(self.log.isHidden())

    def _installation(self) -> InstallationJob | None:
        """Return the installation that runs or waits, whether it was begun here or in the options."""
        jobs = (self._queue.running, *self._queue.waiting)
        return next((job for job in jobs if isinstance(job, InstallationJob)), None)

    def _cancel(self) -> None:
        job = self._installation()
        if job is not None:
            self.cancel_button.setEnabled(False)
            self.step.setText(tr("Cancelling; what was installed is deleted …"))
            self._queue.cancel(job)

    def _on_event(self, job: Job, event: dict[str, Any]) -> None:
        if not isinstance(job, InstallationJob):
            return
        if event.get("event") == "progress":
            self.bar.setValue(int(event["done"]))
            if self.cancel_button.isEnabled():
                self.step.setText(str(event.get("note", "")))
        else:
            self.log.appendPlainText(str(event.get("message", "")))

    def _ended(self, job: Job) -> None:
        if not isinstance(job, InstallationJob):
            return
        self.cancel_button.setEnabled(True)
        if job.state is JobState.FAILED and job.error is not None:
            self.log.appendPlainText(str(job.error))
        self.refresh()


def _what(environment: EngineEnvironment) -> str:
    """Return what will be installed, where, and how large it is."""
    gigabytes = environment.size_estimate() / 1e9
    torch = tr("PyTorch for your NVIDIA graphics card") if cuda_of_driver() else tr("PyTorch for the processor")
    how = tr("with uv") if find_uv() else tr("with pip")
    lines = [
        tr("The model runs in a Python of its own, apart from QGIS: nothing of QGIS is changed."),
        "<ul style='margin-left: 12px; -qt-list-indent: 0'>"
        f"<li>{tr('What:')} {torch}, rasterio, shapely {tr('and what they need')}, {how}</li>"
        f"<li>{tr('Where:')} <tt>{environment.folder()}</tt></li>"
        f"<li>{tr('Size:')} {tr('about {:.1f} GB on the disk').format(gigabytes)}</li></ul>",
        tr("It takes some minutes, and can be cancelled and removed again at any time. The model comes with the plugin."),
    ]
    return "".join(f"<p>{line}</p>" if not line.startswith("<ul") else line for line in lines)
