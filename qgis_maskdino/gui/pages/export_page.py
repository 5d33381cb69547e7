"""The page that makes a data set of a raster layer and its known buildings."""

from __future__ import annotations

import os

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtWidgets import QSpinBox, QWidget

from qgis_maskdino import options
from qgis_maskdino.gui.layer_choice import AnnotationsCombo, chosen, polygon_combo
from qgis_maskdino.gui.pages.page import Page, note
from qgis_maskdino.gui.raster_picker import RasterPicker
from qgis_maskdino.jobs.algorithm import AlgorithmJob
from qgis_maskdino.jobs.queue import Job, JobState
from qgis_maskdino.layers.detections import is_detections
from qgis_maskdino.translation import tr

_SHARE = 80  # per cent of the ground for training


class ExportJob(AlgorithmJob):
    """Runs ``maskdino:exporttrainingdata``."""

    def summary(self) -> str:
        if "IMAGES" not in self.results:
            return ""
        return tr("{} tiles with {} outlines").format(int(self.results["IMAGES"]), int(self.results["FOOTPRINTS"]))


class ExportPage(Page):
    """Cuts tiles for training and for validation, which share no ground."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(button=tr("Export training data"), icon_name="export", parent=parent)
        self.raster = RasterPicker()
        self.annotations = AnnotationsCombo()
        self.caution = note(tr("⚠ These are detections. Correct them before a model is trained on its own mistakes."))
        self.area = polygon_combo(optional=True)
        self.tile_size = QSpinBox()
        tile_size = options.export_dataset()["tile_size"]
        self.tile_size.setRange(tile_size.minimum, tile_size.maximum)
        self.tile_size.setSingleStep(32)
        self.tile_size.setValue(tile_size.default)
        self.tile_size.setSuffix(" px")
        self.share = QSpinBox()
        self.share.setRange(50, 95)
        self.share.setSingleStep(5)
        self.share.setValue(_SHARE)
        self.share.setSuffix(" %")
        self.folder = QgsFileWidget()
        self.folder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.folder.setDialogTitle(tr("A new folder for the data set"))
        self.result = note()
        self.result.hide()
        self.add(self.raster, label=tr("&Raster layer"))
        self.add(self.annotations, label=tr("&Annotations"), tip=tr("One polygon per building, all of them in the area below."))
        self.add(self.caution)
        self.add(
            self.area,
            label=tr("Where annotations are &complete"),
            tip=tr("Nothing outside is used: a building that nobody drew would teach the model to overlook it."),
        )
        self.add(self.tile_size, label=tr("&Tile size"), tip=tile_size.help)
        self.add(
            self.share,
            label=tr("&Ground for training"),
            tip=tr("The rest is for validation: blocks of ground apart, so that the figures are honest."),
        )
        self.add(self.folder, label=tr("&Folder"))
        self.add(self.result)
        self.end_column()
        self.raster.changed.connect(self.refresh)
        self.annotations.layerChanged.connect(lambda layer: self.refresh())
        self.annotations.model().rowsInserted.connect(lambda *rows: self.refresh())
        self.folder.fileChanged.connect(lambda path: self.refresh())
        self.refresh()

    def why_not(self) -> str:
        folder = self.folder.filePath().strip()
        if self.raster.why_not():
            return self.raster.why_not()
        if chosen(self.annotations) is None:
            return tr("Choose a polygon layer with the known buildings, or add one to the project.")
        if not folder:
            return tr("Name a new folder for the data set.")
        if os.path.isdir(folder) and os.listdir(folder):
            return tr("The folder {} is not empty. Name another one.").format(folder)
        return ""

    def refresh(self) -> None:
        super().refresh()
        self.caution.setVisible(is_detections(chosen(self.annotations)))

    def job(self) -> ExportJob:
        layer, area = self.raster.layer(), chosen(self.area)
        parameters = {
            "INPUT": layer.id(),
            "ANNOTATIONS": chosen(self.annotations).id(),
            "TILE_SIZE": self.tile_size.value(),
            "SPLIT": True,
            "TRAINING_SHARE": self.share.value() / 100,
            "OUTPUT": self.folder.filePath().strip(),
        }
        if area is not None:
            parameters["AOI"] = area.id()
        title = tr("Training data of {} in {}").format(layer.name(), os.path.basename(parameters["OUTPUT"]))
        return ExportJob("maskdino:exporttrainingdata", parameters, title=title)

    def show_result(self, job: Job) -> None:
        """Name the folder that was written."""
        self.result.setVisible(job.state is JobState.DONE)
        if job.state is JobState.DONE:
            self.result.setText(tr("{} in {}").format(job.summary(), job.results["OUTPUT"]))
