"""Ask what becomes of an output file that is there already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from qgis.core import QgsProject
from qgis.PyQt.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QLabel, QLineEdit, QRadioButton, QVBoxLayout, QWidget

from qgis_maskdino.layers.appending import appended_output, layers_to_append_to
from qgis_maskdino.layers.output_file import (
    free_file,
    free_layer_name,
    layer_output,
    layers_of,
    layers_using,
    shown_names,
    why_not_a_new_layer,
)
from qgis_maskdino.translation import tr


def output_parameters(path: str, parent: QWidget, *, fields: Sequence[str]) -> dict[str, Any] | None:
    """Return the output as parameters of ``maskdino:detectbuildings``; None where the user would rather not.

    Args:
        path: an absolute path; where there is something, the user is asked.
        fields: that the detection writes.
    """
    if not os.path.exists(path):
        return {"OUTPUT": path}
    dialog = ExistingOutputDialog(path, parent, fields=fields)
    return dialog.parameters() if dialog.exec() == QDialog.DialogCode.Accepted else None


class ExistingOutputDialog(QDialog):
    """Offers to append to a layer of a GeoPackage, to add a layer to it, to write beside a file, or to replace it.

    Only layers that have the detection's fields are offered. A file that the project uses is not replaced.
    """

    def __init__(self, path: str, parent: QWidget | None = None, *, fields: Sequence[str]) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("The output exists"))
        self._path = path
        self._fields = fields
        self._beside = free_file(path)
        layers, used_by = layers_of(path), layers_using(path, QgsProject.instance())
        self.text = QLabel(_what_is_there(path, layers, used_by))
        self.text.setWordWrap(True)
        self.add = QRadioButton(tr("&Add a layer to this GeoPackage, called"))
        self.layer_name = QLineEdit(free_layer_name(path, "buildings"))
        self.layer_name.setAccessibleName(tr("Name of the new layer"))
        self.append = QRadioButton(tr("A&ppend to its layer"))
        self.layer_there = QComboBox()
        self.layer_there.addItems(layers_to_append_to(path, fields))
        self.layer_there.setAccessibleName(tr("Layer to append to"))
        self.beside = QRadioButton(tr("&Write {} beside it").format(os.path.basename(self._beside)))
        self.replace = QRadioButton(tr("&Replace the file and all that is in it"))
        self.replace.setEnabled(not used_by)
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for widget in (self.text, self.add, self.layer_name, self.append, self.layer_there, self.beside, self.replace):
            layout.addWidget(widget)
        layout.addWidget(self.reason)
        layout.addWidget(self.buttons)
        for widget in (self.append, self.layer_there):
            widget.setVisible(self.layer_there.count() > 0)
        for widget in (self.add, self.layer_name):
            widget.setVisible(bool(layers))
        (self.add if layers else self.beside).setChecked(True)
        self.layer_name.textEdited.connect(lambda text: self.add.setChecked(True))
        self.layer_name.textChanged.connect(lambda text: self._refresh())
        self.layer_there.activated.connect(lambda index: self.append.setChecked(True))
        for button in (self.add, self.append, self.beside, self.replace):
            button.toggled.connect(lambda on: self._refresh())
        self._refresh()

    def parameters(self) -> dict[str, Any]:
        """Return what was chosen as parameters of ``maskdino:detectbuildings``."""
        if self.add.isChecked():
            return {"OUTPUT": layer_output(self._path, self.layer_name.text().strip())}
        if self.append.isChecked():
            return {"OUTPUT": appended_output(self._path, self.layer_there.currentText(), self._fields)}
        if self.replace.isChecked():
            return {"OUTPUT": self._path, "OVERWRITE": True}
        return {"OUTPUT": self._beside}

    def _refresh(self) -> None:
        reason = why_not_a_new_layer(self._path, self.layer_name.text().strip()) if self.add.isChecked() else ""
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason))
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(not reason)


def _what_is_there(path: str, layers: list[str], used_by: list[str]) -> str:
    sentences = [tr("{path} exists already.").format(path=path)]
    if layers:
        sentences.append(tr("It holds: {layers}.").format(layers=shown_names(layers)))
    if used_by:
        sentences.append(
            tr("The project uses it in: {layers}. What the project uses is not replaced.").format(layers=shown_names(used_by))
        )
    return "\n".join(sentences)
