"""The models that there are, each with its card; model files come in, published checkpoints are converted, own ones removed."""

from __future__ import annotations

import os
from html import escape

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from qgis_maskdino import settings
from qgis_maskdino.backend.environment import EngineEnvironment, State
from qgis_maskdino.backend.model_card import ModelCard, read_model_card
from qgis_maskdino.backend.model_choice import (
    free_model_name,
    model_argument,
    model_names,
    own_model_names,
    why_not_a_new_model,
)
from qgis_maskdino.gui.conversion_dialog import ConversionDialog
from qgis_maskdino.gui.pages.page import note
from qgis_maskdino.jobs.algorithm import AlgorithmJob
from qgis_maskdino.jobs.models import ConversionJob, ImportJob
from qgis_maskdino.jobs.queue import Job, JobQueue, JobState
from qgis_maskdino.translation import tr


class ModelManager(QDialog):
    """Shows and keeps the models; it stays open while jobs run.

    Args:
        queue: that its jobs will be in.

    Signals:
        submitted: a job that the user wants done.
        changed: a model was removed.
    """

    submitted = pyqtSignal(object)
    changed = pyqtSignal()

    def __init__(self, environment: EngineEnvironment, queue: JobQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Mask DINO: models"))
        self._environment = environment
        self._queue = queue
        self._job: ImportJob | ConversionJob | None = None
        self.list = QListWidget()
        self.list.setAccessibleName(tr("Models"))
        self.card = QTextBrowser()
        self.card.setAccessibleName(tr("What the model says of itself"))
        self.said = note()
        self.import_button = QPushButton(tr("&Import a model file …"))
        self.import_button.setToolTip(tr("Check a model file (.safetensors) and copy it into your model folder."))
        self.convert_button = QPushButton(tr("&Convert a checkpoint …"))
        self.convert_button.setToolTip(
            tr("Make a model file of a checkpoint (.pth, .pkl) that the makers of a model published.")
        )
        self.remove_button = QPushButton(tr("&Remove"))
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        for button in (self.import_button, self.convert_button, self.remove_button):
            button.setAutoDefault(False)
        self.import_button.clicked.connect(self._import)
        self.convert_button.clicked.connect(self._convert)
        self.remove_button.clicked.connect(self._remove)
        close.rejected.connect(self.reject)
        self.list.currentItemChanged.connect(lambda now, before: self._show_card())
        middle, foot, layout = QHBoxLayout(), QHBoxLayout(), QVBoxLayout(self)
        middle.addWidget(self.list, 2)
        middle.addWidget(self.card, 5)
        for button in (self.import_button, self.convert_button, self.remove_button):
            foot.addWidget(button)
        foot.addStretch(1)
        foot.addWidget(close)
        layout.addLayout(middle, 1)
        layout.addWidget(self.said)
        layout.addLayout(foot)
        self.resize(760, 600)

    def show_model(self, model: str = "") -> None:
        """Open the window, with a model chosen where one is named."""
        self.refresh()
        self._choose(model)
        self.show()
        self.raise_()
        self.activateWindow()

    def model(self) -> str:
        """Return the chosen model by name; empty where there is none."""
        item = self.list.currentItem()
        return str(item.data(Qt.ItemDataRole.UserRole)) if item is not None else ""

    def refresh(self) -> None:
        """List the models anew, and say how it is with the job that was started here."""
        chosen, own = self.model(), own_model_names()
        self.list.blockSignals(True)
        self.list.clear()
        for name in model_names():
            item = QListWidgetItem(name if name in own else tr("{} (embedded)").format(name))
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.list.addItem(item)
        self.list.blockSignals(False)
        self._choose(chosen)
        if self.list.currentItem() is None:
            self.list.setCurrentRow(0)
        self._show_card()
        self.said.setText(_state_of(self._job))
        idle = self._job is None or self._job.state not in (JobState.WAITING, JobState.RUNNING)
        for button in (self.import_button, self.convert_button):  # the next one could be given the same name
            button.setEnabled(idle)

    def show_result(self, job: Job) -> None:
        """Show the model that a job brought."""
        if isinstance(job, (ImportJob, ConversionJob)) and job.results.get("OUTPUT"):
            self.refresh()
            self._choose(job.name)

    def _choose(self, model: str) -> None:
        for row in range(self.list.count()):
            if self.list.item(row).data(Qt.ItemDataRole.UserRole) == model:
                self.list.setCurrentRow(row)

    def _show_card(self) -> None:
        name = self.model()
        own = name in own_model_names()
        self.card.setHtml(_card_html(name, read_model_card(name), own=own) if name else "")
        self.remove_button.setEnabled(own)
        self.remove_button.setToolTip("" if own else tr("It belongs to the plugin."))

    def _import(self) -> None:
        if not self._engine_is_there():
            return
        path, _ = QFileDialog.getOpenFileName(self, tr("Model file"), "", tr("Models") + " (*.safetensors)")
        name = self._new_name(os.path.splitext(os.path.basename(path))[0]) if path else ""
        if name:
            self._submit(ImportJob(self._environment, path, name))

    def _new_name(self, name: str) -> str:
        """Return the name for a new model, the user's own where that of its file is taken; empty if they would rather not."""
        why_not = why_not_a_new_model(name)
        while why_not:
            name, accepted = QInputDialog.getText(
                self, tr("Name of the new model"), why_not, QLineEdit.EchoMode.Normal, free_model_name(name)
            )
            if not accepted:
                return ""
            why_not = why_not_a_new_model(name)
        return name

    def _convert(self) -> None:
        if not self._engine_is_there():
            return
        dialog = ConversionDialog(self)
        if dialog.exec() == QDialog.DialogCode.Accepted:
            self._submit(ConversionJob(dialog.name.text().strip(), dialog.parameters()))

    def _engine_is_there(self) -> bool:
        """Return whether models can be looked into; where not, say what is missing."""
        condition = self._environment.condition()
        if condition.state is not State.READY:
            self.said.setText(condition.sentence)
        return condition.state is State.READY

    def _submit(self, job: ImportJob | ConversionJob) -> None:
        self._job = job
        self.submitted.emit(job)
        self.refresh()

    def _remove(self) -> None:
        name = self.model()
        path = model_argument(name)
        user = next((job for job in (self._queue.running, *self._queue.waiting) if _uses(job, name, path)), None)
        if user is not None:
            self.said.setText(tr("The model {} is used by: {}. Wait for its end, or cancel it.").format(name, user.title))
            return
        question = tr("Delete the model {}? Its file is {}.").format(name, path)
        if QMessageBox.question(self, self.windowTitle(), question) != QMessageBox.StandardButton.Yes:
            return
        self._queue.close_engine()  # it may have the file open
        try:
            os.remove(path)
        except OSError as error:
            self.said.setText(tr("The model could not be deleted: {}.").format(error))
            return
        self._job = None
        self.changed.emit()


def _uses(job: Job | None, name: str, path: str) -> bool:
    if isinstance(job, AlgorithmJob):
        given = job.parameters
        return given.get("MODEL_FILE") == path or (not given.get("MODEL_FILE") and given.get("MODEL") == name)
    return False


def _state_of(job: Job | None) -> str:
    """Return how a job is, or what came of it; where nothing was started, where the user's models are."""
    if job is None:
        return tr("Your models are in {}.").format(settings.model_folder())
    if job.state is JobState.FAILED:
        return str(job.error)
    if job.state is JobState.CANCELLED:
        return tr("{}: cancelled").format(job.title)
    return job.summary() if job.state is JobState.DONE else tr("{} …").format(job.title)


def _card_html(name: str, card: ModelCard | None, *, own: bool) -> str:
    title = f"<h3>{escape(name)}</h3>"
    if card is None:
        return title + f"<p>{tr('This file says nothing of itself: it is no model file, or a broken one.')}</p>"
    figures = ", ".join(f"{figure} {value:.3g}" for figure, value in card.figures.items())
    rows = (
        (tr("Finds"), ", ".join(card.classes)),
        (tr("Resolution"), tr("{:g} m/px").format(card.gsd) if card.gsd else tr("any resolution")),
        (tr("Figures"), f"{figures} ({card.evaluated_on})" if figures and card.evaluated_on else figures),
        (tr("Limits"), card.limits),
        (tr("Trained by"), " · ".join(filter(None, (card.trained_by, card.finished)))),
        (tr("Trained on"), "; ".join(card.data)),
        (tr("Licence"), card.licence or tr("not said")),
        (tr("Size"), tr("{:.1f} MB").format(card.bytes / 1e6)),
        (tr("File"), card.path if own else ""),
    )
    cells = "".join(
        f"<tr><td style='padding-right: 8px'><b>{escape(label)}</b></td><td>{escape(text)}</td></tr>"
        for label, text in rows
        if text
    )
    return f"{title}<p>{escape(card.description)}</p><table cellpadding='2'>{cells}</table>"
