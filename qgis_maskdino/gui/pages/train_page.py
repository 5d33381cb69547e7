"""The page that makes a model better at one's own ground."""

from __future__ import annotations

import os

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QLineEdit, QPushButton, QSpinBox, QWidget

from qgis_maskdino import options
from qgis_maskdino.gui.device_picker import DevicePicker
from qgis_maskdino.gui.model_picker import ModelPicker
from qgis_maskdino.gui.pages.page import Page, note
from qgis_maskdino.jobs.algorithm import AlgorithmJob
from qgis_maskdino.jobs.queue import Job, JobState
from qgis_maskdino.translation import tr


class TrainingJob(AlgorithmJob):
    """Runs ``maskdino:trainmodel``.

    Attributes:
        model: the file that came out; empty where the training was cancelled.
    """

    model = ""

    def finish(self) -> None:
        super().finish()
        self.model = str(self.results.get("TRAINED_MODEL") or "")

    def kept(self) -> str:
        return tr("The last checkpoint is kept.")

    def summary(self) -> str:
        if self.state is JobState.CANCELLED:
            return tr("Cancelled; the last checkpoint is kept, and the run can go on.") if self.results else ""
        figure = self.results.get("AP50")
        quality = f" · AP50 {figure:.2f}" if figure is not None else ""
        return os.path.basename(self.model) + quality


class TrainPage(Page):
    """Fine-tunes a model with an exported data set.

    Signals:
        model_wanted: a model file that the user wants to detect with.
    """

    model_wanted = pyqtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(button=tr("Fine-tune"), icon_name="train", parent=parent)
        self.dataset = _folder(tr("Folder with train and val, as exported"))
        self.model = ModelPicker()
        self.epochs = QSpinBox()
        self.epochs.setRange(1, 1000)
        self.epochs.setValue(20)
        self.name = QLineEdit("finetuned")
        self.device = DevicePicker()
        self.folder = _folder(tr("A new folder for the run"))
        self.resume = QCheckBox(tr("&Go on with the run in the folder"))
        self.resume.setToolTip(options.train()["resume"].help)
        self.result = note()
        self.use_button = QPushButton(tr("Detect with the new model"))
        self.use_button.clicked.connect(lambda: self.model_wanted.emit(self._trained))
        self._trained = ""
        self.result.hide()
        self.use_button.hide()
        self.add(
            self.dataset,
            label=tr("&Data set"),
            tip=tr("The folder that Export has written. A hundred buildings help, a thousand are better."),
        )
        self.add(self.model, label=tr("Model to &start from"), tip=tr("What it knows already is kept and adapted."))
        self.add(self.epochs, label=tr("&Epochs"), tip=tr("How often the whole data set is looked at."))
        self.add(self.name, label=tr("&Name of the new model"))
        self.add(self.device, label=tr("De&vice"))
        self.add(self.folder, label=tr("&Folder of the run"), tip=tr("For the model, its checkpoints and figures."))
        self.add(self.resume)
        self.add(note(tr("With a graphics card it takes minutes, without one hours. QGIS stays usable meanwhile.")))
        self.add(self.result)
        self.add(self.use_button)
        self.end_column()
        for files in (self.dataset, self.folder):
            files.fileChanged.connect(lambda path: self.refresh())
        self.name.textChanged.connect(lambda text: self.refresh())
        self.resume.toggled.connect(lambda on: self.refresh())
        self.model.changed.connect(self.refresh)
        self.refresh()

    def why_not(self) -> str:
        dataset, folder = self.dataset.filePath().strip(), self.folder.filePath().strip()
        if not dataset:
            return tr("Name the folder with the data set; the page Export makes one.")
        if not all(os.path.isdir(os.path.join(dataset, side)) for side in ("train", "val")):
            return tr("The data set has no folders train and val; the page Export makes them.")
        if not self.name.text().strip():
            return tr("Give the new model a name.")
        if not folder:
            return tr("Name a new folder for the run.")
        if not self.resume.isChecked() and os.path.isdir(folder) and os.listdir(folder):
            return tr("The folder {} is not empty. Name another one, or go on with the run in it.").format(folder)
        return self.model.why_not()

    def job(self) -> TrainingJob:
        parameters = {
            "DATASET": self.dataset.filePath().strip(),
            **self.model.parameters(),
            "EPOCHS": float(self.epochs.value()),
            "NAME": self.name.text().strip(),
            "DEVICE": self.device.device(),
            "RESUME": self.resume.isChecked(),
            "OUTPUT": self.folder.filePath().strip(),
        }
        return TrainingJob("maskdino:trainmodel", parameters, title=tr("Training of {}").format(parameters["NAME"]))

    def show_result(self, job: Job) -> None:
        """Offer the new model."""
        if isinstance(job, TrainingJob):
            self._trained = job.model
            self.result.setText(job.summary())
            self.result.setVisible(bool(job.summary()))
            self.use_button.setVisible(bool(job.model))


def _folder(title: str) -> QgsFileWidget:
    widget = QgsFileWidget()
    widget.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
    widget.setDialogTitle(title)
    return widget
