"""Which of a model's classes are looked for: a small list to tick, for models that know more than one."""

from __future__ import annotations

from typing import Any

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QCheckBox, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from qgis_maskdino.translation import tr

_ROWS = 6  # shown at once


class ClassPicker(QWidget):
    """Lets people tick classes; hidden where there is no choice.

    Signals:
        changed: another choice was made.
    """

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.all = QCheckBox(tr("All &classes"))
        self.all.clicked.connect(self._tick_all)
        self.list = QListWidget()
        self.list.itemChanged.connect(self._item_changed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.all)
        column.addWidget(self.list)
        self.setFocusProxy(self.all)
        self.setToolTip(tr("What to look for. Each object in the layer has its class."))
        self.hide()

    def offer(self, names: tuple[str, ...]) -> None:
        """Show the classes of a model, all of them ticked; the same ones again stay as they are."""
        if names == self._names():
            return
        self.list.blockSignals(True)
        self.list.clear()
        for name in names:
            item = QListWidgetItem(name, self.list)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked)
        self.list.blockSignals(False)
        row = max(self.list.sizeHintForRow(0), 1)
        self.list.setFixedHeight(row * min(len(names), _ROWS) + 2 * self.list.frameWidth())
        self._show_whether_all()
        self.setVisible(len(names) > 1)

    def ticked(self) -> tuple[str, ...]:
        """Return the names that are ticked."""
        return tuple(item.text() for item in self._items() if item.checkState() == Qt.CheckState.Checked)

    def parameters(self) -> dict[str, Any]:
        """Return the choice as parameters of ``maskdino:detectbuildings``; all classes need none."""
        ticked = self.ticked()
        return {} if len(ticked) == self.list.count() else {"CLASSES": ",".join(ticked)}

    def why_not(self) -> str:
        """Return why nothing can be looked for; empty when something can."""
        return tr("Tick at least one class.") if self.list.count() and not self.ticked() else ""

    def _items(self) -> list[QListWidgetItem]:
        return [self.list.item(row) for row in range(self.list.count())]

    def _names(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self._items())

    def _tick_all(self, ticked: bool) -> None:
        self.list.blockSignals(True)
        for item in self._items():
            item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self.list.blockSignals(False)
        self.changed.emit()

    def _item_changed(self, item: QListWidgetItem) -> None:
        self._show_whether_all()
        self.changed.emit()

    def _show_whether_all(self) -> None:
        self.all.setChecked(len(self.ticked()) == self.list.count())
