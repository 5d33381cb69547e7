"""Where the model runs."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QComboBox, QWidget

from qgis_maskdino import options, settings
from qgis_maskdino.words import choice


class DevicePicker(QComboBox):
    """Names a device of the engine; at first the one that the options name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        option = options.detect()["device"]
        for value in option.choices:
            self.addItem(choice("device", value), value)
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
