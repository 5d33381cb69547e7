"""Which model looks: one that comes with the plugin, one of the user's folder, or any other file."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QToolButton, QWidget

from qgis_maskdino import settings
from qgis_maskdino.backend.model_card import ModelCard, read_model_card
from qgis_maskdino.backend.model_choice import DEFAULT, model_names
from qgis_maskdino.translation import tr


class ModelPicker(QWidget):
    """Names a model.

    Args:
        remembers: whether the one that was named last is kept for the next session.

    Attributes:
        card: what the model says of itself; None where it says nothing.

    Signals:
        changed: another model was chosen.
        manager_wanted: the user would like to see the models and add others; the one that is chosen.
    """

    changed = pyqtSignal()
    manager_wanted = pyqtSignal(str)

    def __init__(self, *, remembers: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._remembers = remembers
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setMinimumContentsLength(12)
        browse = QToolButton()
        browse.setText("…")
        browse.setToolTip(tr("Choose a model file (.safetensors)."))
        browse.clicked.connect(self._browse)
        self.manage_button = QToolButton()
        self.manage_button.setIcon(QgsApplication.getThemeIcon("/mActionOptions.svg"))
        self.manage_button.setToolTip(tr("Manage models …"))
        self.manage_button.setAccessibleName(tr("Manage models …"))
        self.manage_button.clicked.connect(lambda: self.manager_wanted.emit(self.model()))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(browse)
        row.addWidget(self.manage_button)
        self.setFocusProxy(self.combo)
        self.card: ModelCard | None = None
        self.refresh()
        self.combo.currentIndexChanged.connect(self._chosen)

    def model(self) -> str:
        """Return the model's name, or its file."""
        return str(self.combo.currentData() or DEFAULT)

    def parameters(self) -> dict[str, Any]:
        """Return the model as parameters of a Processing algorithm."""
        model = self.model()
        return {"MODEL_FILE": model} if os.path.isabs(model) else {"MODEL": model}

    def why_not(self) -> str:
        """Return why there is no model; empty when there is one."""
        model = self.model()
        gone = os.path.isabs(model) and not os.path.isfile(model)
        return tr("The model file {} is not there any more.").format(model) if gone else ""

    def choose(self, model: str) -> None:
        """Choose a model by name or file; a file that is not listed yet is."""
        if self.combo.findData(model) < 0:
            self.combo.addItem(os.path.basename(model), model)
            self.combo.setItemData(self.combo.count() - 1, model, Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(self.combo.findData(model))

    def refresh(self) -> None:
        """List the models anew; the chosen one stays chosen, if it is still there."""
        chosen = self.model() if self.combo.count() else settings.model() if self._remembers else DEFAULT
        self.combo.blockSignals(True)
        self.combo.clear()
        for name in model_names():
            self.combo.addItem(name, name)
        if self.combo.findData(chosen) >= 0 or os.path.isfile(chosen):
            self.choose(chosen)
        self.combo.blockSignals(False)
        self._read_card()

    def _read_card(self) -> None:
        self.card = read_model_card(self.model())
        lines = self.card.lines() if self.card is not None else [self.model()]
        self.combo.setToolTip("\n".join([*lines, "", tr("More models: the folder named in the plugin's options, or a file.")]))

    def _chosen(self) -> None:
        self._read_card()
        if self._remembers:
            settings.set_model(self.model())
        self.changed.emit()

    def _browse(self) -> None:
        files = tr("Models") + " (*.safetensors)"
        path, _ = QFileDialog.getOpenFileName(self, tr("Model file"), settings.model_folder(), files)
        if path:
            self.choose(path)
