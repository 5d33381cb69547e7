"""Where the model runs."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QComboBox, QWidget

from qgis_maskdino import options, settings
from qgis_maskdino.translation import tr


class DevicePicker(QComboBox):
    """Names a device of the engine; at first the one that the options name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        texts = {
            "auto": tr("Automatic: the fastest"),
            "cpu": tr("Processor (CPU)"),
            "cuda": tr("Graphics card (CUDA)"),
            "mps": tr("Apple graphics (MPS)"),
        }
        option = options.detect()["device"]
        for value in option.choices:
            self.addItem(texts.get(value, value), value)
        self.setToolTip(option.help)
        self.choose(settings.device())

    def device(self) -> str:
        """Return the device by the engine's name."""
        return str(self.currentData())

    def choose(self, device: str) -> None:
        """Choose a device by the engine's name; one such as ``cuda:1`` is added to the list."""
        if self.findData(device) < 0:
            self.addItem(device, device)
        self.setCurrentIndex(self.findData(device))
