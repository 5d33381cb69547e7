"""The page that says how good a layer of detections is, by a layer of what is there."""

from __future__ import annotations

import shutil

from qgis.core import QgsProcessingUtils
from qgis.PyQt.QtCore import Qt, QUrl
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from qgis_maskdino.gui.layer_choice import AnnotationsCombo, DetectionsCombo, chosen, polygon_combo
from qgis_maskdino.gui.pages.page import Page, note
from qgis_maskdino.jobs.evaluation import EvaluationJob
from qgis_maskdino.jobs.queue import Job, JobState
from qgis_maskdino.translation import tr
from qgis_maskdino.words import label


class EvaluatePage(Page):
    """Compares two layers, and shows the figures."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(button=tr("Evaluate"), icon_name="evaluate", parent=parent)
        self.detections = DetectionsCombo()
        self.annotations = AnnotationsCombo()
        self.area = polygon_combo(optional=True)
        self.add(self.detections, label=label("detections"), tip=tr("What was found: polygons, best with a field score."))
        self.add(self.annotations, label=label("annotations"), tip=tr("What is there: one polygon per building."))
        self.add(
            self.area,
            label=label("compare_inside"),
            tip=tr("Where the annotations are complete. Elsewhere every detection would count as false."),
        )
        self.figures = QTableWidget(0, 2)
        self.figures.setHorizontalHeaderLabels([tr("Figure"), tr("Value")])
        self.figures.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.figures.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.figures.verticalHeader().hide()
        self.figures.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # the page scrolls
        self.figures.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.figures.setAccessibleName(tr("Figures of the evaluation"))
        self.figures.hide()
        self.report_button = QPushButton(tr("Open the report"))
        self.report_button.setToolTip(tr("One page with figures, curves and pictures, in your browser."))
        self.report_button.clicked.connect(self._open_report)
        self.save_button = QPushButton(tr("Save the report …"))
        self.save_button.setToolTip(tr("Keep the page: it is one file, and gone when QGIS is closed unless it is saved."))
        self.save_button.clicked.connect(self._save_report)
        self.saved = note()
        self._report = ""
        self.add(self.figures)
        for widget in (self.report_button, self.save_button, self.saved):
            widget.hide()
            self.add(widget)
        self.end_column()
        for combo in (self.detections, self.annotations, self.area):
            combo.layerChanged.connect(lambda layer: self.refresh())
        # A second layer changes no choice, and so is not told as one. Each box has a list of its own.
        for combo in (self.detections, self.annotations):
            combo.model().rowsInserted.connect(lambda *rows: self.refresh())
            combo.model().rowsRemoved.connect(lambda *rows: self.refresh())
        self.refresh()

    def why_not(self) -> str:
        detections, annotations = chosen(self.detections), chosen(self.annotations)
        if self.detections.count() < 2 or detections is None or annotations is None:
            return tr("Two polygon layers are needed: what was found, and what is there.")
        if detections is annotations:
            return tr("Detections and annotations are the same layer.")
        return ""

    def job(self) -> EvaluationJob:
        detections, area = chosen(self.detections), chosen(self.area)
        return EvaluationJob(
            detections_name=detections.name(),
            detections=detections.id(),
            annotations=chosen(self.annotations).id(),
            area=None if area is None else area.id(),
            output=QgsProcessingUtils.generateTempFilename("matches.gpkg"),
            report=QgsProcessingUtils.generateTempFilename("evaluation.html"),
        )

    def show_result(self, job: Job) -> None:
        """Show the figures of an evaluation that was done."""
        if not isinstance(job, EvaluationJob) or job.state is not JobState.DONE:
            return
        rows = job.figures()
        self.figures.setRowCount(len(rows))
        for row, (name, value, tip) in enumerate(rows):
            for column, text in enumerate((name, value)):
                item = QTableWidgetItem(text)
                item.setToolTip(tip)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.figures.setItem(row, column, item)
        self.figures.resizeRowsToContents()
        self.figures.setVisible(bool(rows))
        frame = 2 * self.figures.frameWidth()
        self.figures.setFixedHeight(self.figures.verticalHeader().length() + self.figures.horizontalHeader().height() + frame)
        self._report = job.report
        for button in (self.report_button, self.save_button):
            button.setVisible(bool(self._report))
        self.saved.hide()

    def _open_report(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._report))

    def _save_report(self) -> None:
        pages = tr("Web pages (*.html)")
        path, _ = QFileDialog.getSaveFileName(self, tr("Save the report"), "evaluation.html", pages)
        if not path:
            return
        try:
            shutil.copyfile(self._report, path)
        except OSError as error:
            self.saved.setText(tr("{path} cannot be written: {error}.").format(path=path, error=error.strerror))
        else:
            self.saved.setText(tr("Written: {path}").format(path=path))
        self.saved.show()
