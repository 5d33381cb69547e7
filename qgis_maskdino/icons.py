"""The plugin's icons. Those that are drawn in one colour exist twice: for light and for dark windows."""

from __future__ import annotations

import os

from qgis.PyQt.QtGui import QIcon, QPalette
from qgis.PyQt.QtWidgets import QApplication

_HERE = os.path.dirname(os.path.abspath(__file__))
LOGO = "maskdino"


def icon_folder() -> str:
    """Return the folder with the icons: the installed plugin's own, or the project's where it is run from a checkout."""
    inside = os.path.join(_HERE, "icons")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(_HERE), "icons")


def icon_path(name: str, *, dark: bool = False) -> str:
    """Return the file of an icon.

    Args:
        name: of a file in ``icons/light``, without its ending, or ``maskdino``, the logo.
        dark: whether it will lie on a dark ground; the logo is the same on both.
    """
    if name == LOGO:
        return os.path.join(icon_folder(), f"{LOGO}.svg")
    return os.path.join(icon_folder(), "dark" if dark else "light", f"{name}.svg")


def icon(name: str) -> QIcon:
    """Return an icon for QGIS's present theme."""
    return QIcon(icon_path(name, dark=is_dark()))


def is_dark() -> bool:
    """Return whether windows are dark now."""
    return QApplication.palette().color(QPalette.ColorRole.Window).lightness() < 128
