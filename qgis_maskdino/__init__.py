"""Mask DINO in QGIS: building footprints from aerial and satellite imagery. The engine runs in a process of its own."""

from __future__ import annotations


def classFactory(iface):
    """Return the plugin. QGIS gives its interface; ``qgis_process`` gives None."""
    from qgis_maskdino.plugin import MaskDinoPlugin

    return MaskDinoPlugin(iface)
