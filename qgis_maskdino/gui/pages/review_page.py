"""The page where detections are accepted or rejected, one after another, those in most doubt first."""

from __future__ import annotations

import os

from qgis.core import QgsFieldProxyModel, QgsProcessingUtils, QgsProject, QgsVectorLayer
from qgis.gui import QgsFieldComboBox, QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QObject, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from qgis.utils import OverrideCursor

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.gui.layer_choice import DetectionsCombo, chosen
from qgis_maskdino.gui.pages.page import Page, note
from qgis_maskdino.gui.review_map import ReviewMap
from qgis_maskdino.layers.detections import SCORE_FIELD
from qgis_maskdino.layers.output_file import absolute_output, why_not_a_place
from qgis_maskdino.layers.results import add_result
from qgis_maskdino.review.accepted import write_accepted
from qgis_maskdino.review.order import ACCEPTED, OPEN, REJECTED
from qgis_maskdino.review.review import Review
from qgis_maskdino.review.status_field import add_status, has_status, why_not_written
from qgis_maskdino.translation import tr
from qgis_maskdino.words import label

_STEPS = 100  # of the slider


class ReviewPage(Page):
    """Reviews a layer in the map. The keys A, R, N and Z work in the map and in the page, while the page is in sight.

    Signals:
        training_wanted: a layer of accepted detections that a model is to be trained on.
    """

    training_wanted = pyqtSignal(object)

    def __init__(self, canvas: QgsMapCanvas, parent: QWidget | None = None) -> None:
        super().__init__(button=tr("Start the review"), icon_name="review", parent=parent)
        self.review: Review | None = None
        self._canvas = canvas
        self._map = ReviewMap(canvas)
        self._marked: int | None = None
        self.detections = DetectionsCombo()
        self.score_field = QgsFieldComboBox()
        self.score_field.setFilters(QgsFieldProxyModel.Filter.Numeric)
        self.said = note()
        self.add(
            self.detections,
            label=label("detections"),
            tip=tr("Any layer of polygons with a field of numbers that says how sure each of them is."),
        )
        self.add(self.score_field, label=tr("Field with the s&core"))
        self.controls = self._make_controls()
        self.controls.hide()
        self.add(self.controls)
        self.add(self.said)
        self.end_column()
        self.detections.layerChanged.connect(self._layer_chosen)
        self.detections.model().rowsInserted.connect(lambda *rows: self._layer_chosen(self.detections.currentLayer()))
        self.score_field.fieldChanged.connect(lambda name: self.refresh())
        self._layer_chosen(self.detections.currentLayer())

    def why_not(self) -> str:
        if self.review is not None:
            return ""
        layer = chosen(self.detections)
        if layer is None:
            return tr("Detect buildings first, or add a layer of polygons with scores to the project.")
        if not self.score_field.currentField():
            return tr("The layer {} has no field of numbers that could be a score.").format(layer.name())
        return ""

    def submit(self) -> None:
        """Start the review, or end the one that is on."""
        if self.review is not None:
            self.review.end()
        elif not self.why_not():
            self._start(chosen(self.detections))

    def close_down(self) -> None:
        """End a review; the page is not used after that."""
        if self.review is not None:
            self.review.end()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the keys of the review, in the map and in the page, before QGIS's own shortcuts."""
        if event.type() not in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress):
            return False
        button = self._keys.get(event.key()) if event.modifiers() == Qt.KeyboardModifier.NoModifier else None
        if button is None or not self.isVisible():
            return False
        if event.type() == QEvent.Type.KeyPress and not event.isAutoRepeat():  # a key held down decides once
            button.click()
        event.accept()
        return True

    def _make_controls(self) -> QWidget:
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.setAccessibleName(tr("Show from this score"))
        self.score = QDoubleSpinBox()
        self.score.setAccessibleName(tr("Show from this score"))
        self.slider.setToolTip(tr("What has a lower score is hidden. Nothing in the layer changes."))
        self.score.setToolTip(self.slider.toolTip())
        self.count = note()
        self.progress = QProgressBar()
        self.accept_button = QPushButton(tr("Accept (A)"))
        self.reject_button = QPushButton(tr("Reject (R)"))
        self.next_button = QPushButton(tr("Next (N)"))
        self.undo_button = QPushButton(tr("Back (Z)"))
        self.next_button.setToolTip(tr("Leave this one open, and go to the next: the lowest score first"))
        self.undo_button.setToolTip(tr("Go back one step; what was decided there is taken back"))
        self.current = note()
        self.with_open = QCheckBox(tr("With those shown that are still open"))
        self.with_open.setToolTip(tr("Otherwise only what was accepted is saved. Rejected ones never are."))
        self.save_button = QPushButton(tr("Save accepted …"))
        self.train_button = QPushButton(tr("Use for training"))
        self.train_button.setToolTip(tr("Put them into a layer, and choose it on the page Export"))
        self._keys = {
            Qt.Key.Key_A: self.accept_button,
            Qt.Key.Key_R: self.reject_button,
            Qt.Key.Key_N: self.next_button,
            Qt.Key.Key_Z: self.undo_button,
        }
        self.slider.valueChanged.connect(self._slide)
        self.score.valueChanged.connect(self._score_changed)
        self.accept_button.clicked.connect(lambda: self._decide(self.review.accept))
        self.reject_button.clicked.connect(lambda: self._decide(self.review.reject))
        self.next_button.clicked.connect(lambda: self.review.next())
        self.undo_button.clicked.connect(lambda: self._decide(self.review.undo))
        self.with_open.toggled.connect(lambda on: self._show())
        self.save_button.clicked.connect(self._save)
        self.train_button.clicked.connect(self._train)
        return self._arranged()

    def _arranged(self) -> QWidget:
        controls = QWidget()
        column = QVBoxLayout(controls)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.addWidget(self.slider, 1)
        row.addWidget(self.score)
        grid = QGridLayout()
        for place, button in enumerate(self._keys.values()):
            grid.addWidget(button, place // 2, place % 2)
        saving = QHBoxLayout()
        saving.addWidget(self.save_button)
        saving.addWidget(self.train_button)
        column.addLayout(row)
        column.addWidget(self.count)
        column.addLayout(grid)
        column.addWidget(self.progress)
        column.addWidget(self.current)
        column.addWidget(self.with_open)
        column.addLayout(saving)
        return controls

    def _layer_chosen(self, layer: QgsVectorLayer | None) -> None:
        self.score_field.setLayer(layer if isinstance(layer, QgsVectorLayer) else None)
        if self.score_field.findText(SCORE_FIELD) >= 0:
            self.score_field.setField(SCORE_FIELD)
        self.said.clear()
        self.refresh()

    def _start(self, layer: QgsVectorLayer) -> None:
        reason = why_not_written(layer)
        if not reason and not has_status(layer):
            if not self._may_add(layer):
                return
            if not add_status(layer):
                reason = tr("The field 'status' could not be added to {}.").format(layer.name())
        self.said.setText(reason)
        if reason:
            return
        with OverrideCursor(Qt.CursorShape.WaitCursor):
            self.review = Review(layer, self.score_field.currentField(), self)
        self.review.changed.connect(self._show)
        self.review.ended.connect(self._ended)
        for watched in (self._canvas, self):
            watched.installEventFilter(self)
        self._offer_scores()
        self._set_running(True)
        self.next_button.setFocus()
        self._show()

    def _may_add(self, layer: QgsVectorLayer) -> bool:
        text = tr("The review keeps what you decide in a field 'status' of {}. Add this field to the layer?")
        buttons = QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.Cancel
        answer = QMessageBox.question(self, tr("Review"), text.format(layer.name()), buttons)
        return answer == QMessageBox.StandardButton.Yes

    def _offer_scores(self) -> None:
        low, high = self.review.range()
        for widget in (self.score, self.slider):
            widget.blockSignals(True)
        self.score.setDecimals(2 if high - low <= 10 else 0)
        self.score.setRange(low, high)
        self.score.setSingleStep((high - low) / _STEPS)
        self.score.setValue(self.review.score)
        self.slider.setValue(self._on_slider(self.review.score))
        for widget in (self.score, self.slider):
            widget.blockSignals(False)

    def _on_slider(self, score: float) -> int:
        span = self.score.maximum() - self.score.minimum()
        return round((score - self.score.minimum()) / span * _STEPS) if span else 0

    def _slide(self, step: int) -> None:
        low, high = self.score.minimum(), self.score.maximum()
        self.score.setValue(low + (high - low) * step / _STEPS)

    def _score_changed(self, score: float) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(self._on_slider(score))
        self.slider.blockSignals(False)
        self.review.set_score(score)

    def _decide(self, decide) -> None:
        written = decide()
        self.said.setText("" if written else tr("The decision could not be written to the layer: is it open elsewhere?"))

    def _show(self) -> None:
        review = self.review
        shown, reviewed = review.shown(), review.reviewed()
        self.count.setText(tr("{shown} of {total} shown").format(shown=f"{shown:,}", total=f"{review.total():,}"))
        self.progress.setMaximum(max(shown, 1))
        self.progress.setValue(reviewed)
        self.progress.setFormat(tr("{reviewed} of {shown} reviewed").format(reviewed=f"{reviewed:,}", shown=f"{shown:,}"))
        here = review.current is not None
        self.accept_button.setEnabled(here)
        self.reject_button.setEnabled(here)
        self.next_button.setEnabled(reviewed < shown)
        self.undo_button.setEnabled(review.can_undo())
        for button in (self.save_button, self.train_button):
            button.setEnabled(bool(review.accepted_count(with_open=self.with_open.isChecked())))
        self.current.setText(self._about_current())
        if review.current != self._marked:
            self._marked = review.current
            self._map.show(review.feature(), review.layer)

    def _about_current(self) -> str:
        review = self.review
        if review.current is not None:
            status = {OPEN: tr("open"), ACCEPTED: tr("accepted"), REJECTED: tr("rejected")}[review.status()]
            return tr("Score {score}, {status}").format(score=f"{review.current_score():.2f}", status=status)
        if not review.shown():
            return tr("Nothing has a score as high as this.")
        if review.reviewed() == review.shown():
            return tr("All that is shown is reviewed. A lower score shows more.")
        return tr("Choose from which score on detections are shown, then press N: the ones in most doubt come first.")

    def _save(self) -> None:
        suggested = os.path.join(QgsProject.instance().homePath(), "accepted.gpkg")
        path, _ = QFileDialog.getSaveFileName(
            self, tr("Save accepted"), suggested, "GeoPackage (*.gpkg)", options=QFileDialog.Option.DontConfirmOverwrite
        )
        if not path:
            return
        path = absolute_output(path, QgsProject.instance())
        reason = why_not_a_place(path)
        if not path.lower().endswith(".gpkg"):
            reason = tr("{path} is no GeoPackage. Give a name that ends in .gpkg.").format(path=path)
        elif os.path.exists(path):
            reason = tr("{path} exists already. Give another name.").format(path=path)
        self.said.setText(reason)
        if not reason:
            self._write(path)

    def _train(self) -> None:
        layer = self._write(QgsProcessingUtils.generateTempFilename("accepted.gpkg"))
        if layer is not None:
            self.training_wanted.emit(layer)

    def _write(self, path: str) -> QgsVectorLayer | None:
        try:
            with OverrideCursor(Qt.CursorShape.WaitCursor):
                layer = write_accepted(self.review, path, with_open=self.with_open.isChecked())
        except EngineError as error:
            self.said.setText(error.message)
            return None
        add_result(layer, beside=self.review.layer.id())
        count = f"{layer.featureCount():,}"
        self.said.setText(tr("{count} saved in the layer {name}.").format(count=count, name=layer.name()))
        return layer

    def _ended(self, why: str) -> None:
        for watched in (self._canvas, self):
            watched.removeEventFilter(self)
        self._map.clear()
        self._marked = None
        self.review.deleteLater()
        self.review = None
        self.said.setText(why)
        self._set_running(False)

    def _set_running(self, on: bool) -> None:
        self.controls.setVisible(on)
        self.detections.setEnabled(not on)
        self.score_field.setEnabled(not on)
        self.run_button.setText(tr("End the review") if on else tr("Start the review"))
        self.refresh()
