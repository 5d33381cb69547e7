"""Where to detect: a rectangle in the layer's CRS, or polygons in a file of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsRectangle,
)

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.layers.polygon_file import write_polygons
from qgis_maskdino.layers.source import LayerSource
from qgis_maskdino.translation import tr


@dataclass(frozen=True)
class DetectionArea:
    """An area.

    Attributes:
        bounds: in the CRS of the raster layer.
        file: with polygons, in any CRS; None for a rectangle.
    """

    bounds: QgsRectangle
    file: str | None = None

    @classmethod
    def polygons(
        cls,
        features: Iterable[QgsFeature],
        crs: QgsCoordinateReferenceSystem,
        source: LayerSource,
        path: str,
        *,
        within: QgsGeometry | None = None,
    ) -> DetectionArea:
        """Write polygons to a file that the engine reads.

        Args:
            features: with polygons.
            crs: of the polygons; those without one are taken for the raster's.
            source: the raster layer.
            path: a .gpkg that is not there yet.
            within: leave out what lies outside; in the polygons' CRS.

        Raises:
            EngineError: there are no polygons, or they have no place in the raster's CRS.
        """
        bounds = write_polygons(features, crs if crs.isValid() else source.crs, path, within=within)
        if bounds.isEmpty():
            raise EngineError(
                tr("The area has no polygons.") if within is None else tr("The polygons of the area lie outside the extent."),
                code="argument",
                hint=tr("Choose a layer with polygons; if only its selected features are used, select some."),
            )
        return cls(source.bounds_of(bounds, crs), path)
