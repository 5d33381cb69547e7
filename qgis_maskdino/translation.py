"""The texts of the plugin in the user's language. Whatever people read goes through ``tr``."""

from __future__ import annotations

import os

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, QTranslator

CONTEXT = "MaskDino"
FOLDER = os.path.join(os.path.dirname(__file__), "i18n")


def tr(text: str) -> str:
    """Return a text in the user's language, or as it is where nobody has translated it."""
    return QCoreApplication.translate(CONTEXT, text)


def install_translator() -> QTranslator | None:
    """Load the texts of QGIS's language, if they are there; the caller keeps the translator and removes it."""
    translator = QTranslator()
    if not translator.load(os.path.join(FOLDER, f"maskdino_{QgsApplication.locale()}.qm")):
        return None
    QCoreApplication.installTranslator(translator)
    return translator
