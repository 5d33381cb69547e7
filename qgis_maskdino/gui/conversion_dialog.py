"""Asks which checkpoint becomes a model, and what the checkpoint does not say of itself."""

from __future__ import annotations

import os
from typing import Any

from qgis.gui import QgsDoubleSpinBox, QgsFileWidget
from qgis.PyQt.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from qgis_maskdino import options
from qgis_maskdino.backend.model_choice import free_model_name, why_not_a_new_model
from qgis_maskdino.gui.pages.page import form, note
from qgis_maskdino.translation import tr
from qgis_maskdino.words import label


class ConversionDialog(QDialog):
    """Describes a conversion; whoever opened it submits the job."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Convert a checkpoint"))
        known = options.models_convert()
        self.checkpoint = QgsFileWidget()
        self.checkpoint.setFilter(tr("Checkpoints") + " (*.pth *.pt *.pkl *.safetensors);;" + tr("All files") + " (*)")
        self.checkpoint.setToolTip(known["published"].help)
        self.name = QLineEdit()
        self.classes = QLineEdit()
        self.classes.setPlaceholderText(tr("Those that are known of the checkpoint"))
        self.classes.setToolTip(known["classes"].help)
        self.gsd = QgsDoubleSpinBox()
        self.gsd.setRange(0.0, 100.0)
        self.gsd.setDecimals(3)
        self.gsd.setSingleStep(0.05)
        self.gsd.setSuffix(tr(" m/px"))
        self.gsd.setSpecialValueText(tr("Any"))
        self.gsd.setClearValue(0.0)
        self.gsd.setToolTip(known["gsd"].help)
        self.drop_classes = QCheckBox(label("drop_classes"))
        self.drop_classes.setToolTip(known["drop_classes"].help)
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setText(tr("Convert"))
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        fields = form()
        fields.addRow(label("checkpoint"), self.checkpoint)
        fields.addRow(label("name"), self.name)
        fields.addRow(label("class_names"), self.classes)
        fields.addRow(label("trained_gsd"), self.gsd)
        layout = QVBoxLayout(self)
        layout.addWidget(
            note(tr("Mask DINO, DI-MaskDINO, Mask2Former or Mask R-CNN, as published. Nothing in the file is run."))
        )
        layout.addLayout(fields)
        layout.addWidget(self.drop_classes)
        layout.addWidget(self.reason)
        layout.addWidget(self.buttons)
        self.checkpoint.fileChanged.connect(self._propose_name)
        self.name.textChanged.connect(lambda text: self._refresh())
        self.resize(520, self.sizeHint().height())
        self._refresh()

    def parameters(self) -> dict[str, Any]:
        """Return what was entered as parameters of ``maskdino:convertmodel``, its output aside."""
        given: dict[str, Any] = {"INPUT": self.checkpoint.filePath().strip(), "DROP_CLASSES": self.drop_classes.isChecked()}
        if self.classes.text().strip():
            given["CLASSES"] = self.classes.text().strip()
        if self.gsd.value() > 0:
            given["GSD"] = self.gsd.value()
        return given

    def _propose_name(self, path: str) -> None:
        stem = os.path.splitext(os.path.basename(path.strip()))[0]
        if stem:
            self.name.setText(free_model_name(stem))
        self._refresh()

    def _refresh(self) -> None:
        path = self.checkpoint.filePath().strip()
        if not path:
            reason = tr("Name the checkpoint.")
        elif not os.path.isfile(path):
            reason = tr("There is no file {}.").format(path)
        else:
            reason = why_not_a_new_model(self.name.text().strip())
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason))
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(not reason)
