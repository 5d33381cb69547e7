"""Where the model runs."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QComboBox, QWidget

from qgis_maskdino import settings
from qgis_maskdino.translation import tr


class DevicePicker(QComboBox):
    """Names a device of the engine; at first the one that the options name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        for text, value in (
            (tr("Automatic: the fastest"), "auto"),
            (tr("Processor (CPU)"), "cpu"),
            (tr("Graphics card (CUDA)"), "cuda"),
            (tr("Apple graphics (MPS)"), "mps"),
        ):
            self.addItem(text, value)
        self.setToolTip(tr("Where the model runs. Automatic takes a graphics card where there is one that it can use."))
        self.choose(settings.device())

    def device(self) -> str:
        """Return the device by the engine's name."""
        return str(self.currentData())

    def choose(self, device: str) -> None:
        """Choose a device by the engine's name; one such as ``cuda:1`` is added to the list."""
        if self.findData(device) < 0:
            self.addItem(device, device)
        self.setCurrentIndex(self.findData(device))
