"""What a detection needs of a raster layer: taken from it in the main thread, used in any other, the layer gone or not.

A layer that is a file which another program can open goes by its path. All others (web, database, virtual, in memory) are
exported for the area that is asked for, see ``raster_export``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsProviderRegistry,
    QgsRasterDataProvider,
    QgsRasterInterface,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QDir, QStandardPaths

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.translation import tr

# Names of datasets that are no files and that only QGIS's own GDAL, with its drivers and passwords, may be able to open.
_SERVICES = ("WMS:", "WCS:", "WMTS:", "PG:", "<GDAL_WMS", "<WCS_GDAL", "<GDAL_WMTS", "/VSIMEM/", "MEM:", "OGCAPI:", "EEDAI:")

_MARKS = ("|option:", "|credential:")


@dataclass(frozen=True)
class LayerSource:
    """A raster layer, without the layer.

    Attributes:
        name: as the user knows it.
        path: what the engine opens; None where the layer has to be exported first.
        downloaded: whether that lies among the user's downloads: a stranger may have made it.
        crs: the layer's, which its user may have set by hand; not valid where it has none.
        extent: in that CRS.
        provider: a copy of the layer's own, for an export.
        transform_context: of the project.
    """

    name: str
    path: str | None
    downloaded: bool
    crs: QgsCoordinateReferenceSystem
    extent: QgsRectangle
    provider: QgsRasterDataProvider
    transform_context: QgsCoordinateTransformContext

    @classmethod
    def of(cls, layer: QgsRasterLayer, transform_context: QgsCoordinateTransformContext) -> LayerSource:
        """Take from a layer what a thread will need. To be called in the thread that the layer lives in.

        Raises:
            EngineError: the layer is broken.
        """
        provider = layer.dataProvider() if layer.isValid() else None
        if provider is None:
            raise EngineError(
                tr("The layer '{name}' cannot be read: {source}.").format(name=layer.name(), source=layer.source()),
                code="raster",
                hint=tr("Repair its data source in the layer panel."),
            )
        crs = QgsCoordinateReferenceSystem(layer.crs())
        return cls(
            name=layer.name(),
            path=file_of(layer),
            downloaded=_is_download(layer.source()),
            crs=crs,
            extent=QgsRectangle(layer.extent()),
            provider=provider.clone(),
            transform_context=QgsCoordinateTransformContext(transform_context),
        )

    def bounds_of(self, bounds: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> QgsRectangle:
        """Return the rectangle in the layer's CRS around one in another; where either has none, it is the same.

        Raises:
            EngineError: it has no place there.
        """
        if not (crs.isValid() and self.crs.isValid()):
            return bounds
        try:
            return QgsCoordinateTransform(crs, self.crs, self.transform_context).transformBoundingBox(bounds)
        except QgsCsException as error:
            raise EngineError(
                tr("The area cannot be brought to the CRS of '{name}': {error}.").format(name=self.name, error=error),
                code="argument",
            ) from error


def has_pixels(provider: QgsRasterDataProvider) -> bool:
    """Return whether a layer has pixels of its own, as files and coverages do; a web map is drawn as fine as asked for."""
    return bool(provider.capabilities() & QgsRasterInterface.Capability.Size) and provider.xSize() > 0


def file_of(layer: QgsRasterLayer) -> str | None:
    """Return under what name another program can open a layer; None where none can."""
    if layer.providerType() != "gdal":
        return None
    name = layer.source()
    # What QGIS alone can pass to GDAL: how to open it, and with which password.
    if any(mark in name for mark in _MARKS) or QgsProviderRegistry.instance().decodeUri("gdal", name).get("authcfg"):
        return None
    if name.upper().startswith(_SERVICES):
        return None
    if os.path.exists(name):
        name = os.path.abspath(name)
    return _with_crs(name, layer)


def _is_download(name: str) -> bool:
    folders = QStandardPaths.standardLocations(QStandardPaths.StandardLocation.DownloadLocation)
    home = QDir(QDir.homePath())  # which Qt names where a system has no folder for downloads
    path = os.path.realpath(name)
    return any(path.startswith(os.path.join(os.path.realpath(folder), "")) for folder in folders if QDir(folder) != home)


def _with_crs(name: str, layer: QgsRasterLayer) -> str | None:
    """Return the name under which a dataset has the CRS that its layer has, where the user has set another one by hand."""
    crs = layer.crs()
    if not crs.isValid() or crs == layer.dataProvider().crs():
        return name
    if "?" in name or not os.path.isabs(name):
        return None
    return f"vrt://{name}?a_srs={crs.authid() or crs.toWkt(QgsCoordinateReferenceSystem.WktVariant.WKT_PREFERRED_GDAL)}"
