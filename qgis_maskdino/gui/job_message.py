"""How jobs ended, for people: a sentence in QGIS's message bar, and a button that shows the rest."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import Qgis
from qgis.gui import QgsMessageBar
from qgis.PyQt.QtGui import QFontDatabase
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from qgis_maskdino.jobs.queue import Job, JobError, JobState
from qgis_maskdino.translation import tr

TITLE = "Mask DINO"
_SECONDS = 8


def show_error(bar: QgsMessageBar, error: JobError) -> None:
    """Tell an error in the message bar, in one sentence; it stays until it is closed. The way out stands in the details."""
    details = "\n\n".join(part for part in (error.hint, error.details) if part)
    _show(bar, error.message, Qgis.MessageLevel.Critical, details=details)


def show_end(bar: QgsMessageBar, job: Job) -> None:
    """Tell in the message bar what came of a job that did not fail; a warning stays until it is closed."""
    done = job.state is JobState.DONE
    text = f"{job.title}: {job.summary() or (tr('done') if done else tr('cancelled'))}"
    level = Qgis.MessageLevel.Success if done else Qgis.MessageLevel.Info
    if job.warnings:
        details = "\n".join(job.warnings)
        _show(bar, f"{text} ⚠ {job.warnings[0]}", Qgis.MessageLevel.Warning, details=details, offer=job.offer)
    else:
        _show(bar, text, level, seconds=_SECONDS)


def _show(
    bar: QgsMessageBar,
    text: str,
    level: Qgis.MessageLevel,
    *,
    seconds: int = 0,
    details: str = "",
    offer: tuple[str, Callable[[], None]] | None = None,
) -> None:
    item = bar.createMessage(TITLE, text)
    if offer is not None:
        wanted = QPushButton(offer[0])
        wanted.clicked.connect(lambda: (offer[1](), bar.popWidget(item)))
        item.layout().addWidget(wanted)
    if details:
        button = QPushButton(tr("Details"))
        button.clicked.connect(lambda: DetailsDialog(text, details, bar.window()).open())
        item.layout().addWidget(button)
    bar.pushWidget(item, level, seconds)


class DetailsDialog(QDialog):
    """What was written while a job ran, to be read or copied into a report."""

    def __init__(self, said: str, details: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Mask DINO: details"))
        sentence = QLabel(said)
        sentence.setWordWrap(True)
        self.text = QPlainTextEdit(details)
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton(tr("Copy"), QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(self._copy)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(sentence)
        layout.addWidget(self.text, 1)
        layout.addWidget(buttons)
        self.resize(640, 360)

    def _copy(self) -> None:
        self.text.selectAll()
        self.text.copy()
