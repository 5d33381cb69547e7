"""Algorithms that let a model see a raster layer: which one, where, and through which bands."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterRasterLayer,
)

from qgis_maskdino.layers.detection_area import DetectionArea
from qgis_maskdino.layers.source import has_pixels
from qgis_maskdino.processing.layer_algorithm import LayerAlgorithm
from qgis_maskdino.translation import tr
from qgis_maskdino.words import title


class RasterAlgorithm(LayerAlgorithm):
    """An algorithm with a raster layer, an extent and an area of interest; what it needs of them is taken in
    ``prepareAlgorithm``."""

    INPUT = "INPUT"
    EXTENT = "EXTENT"
    AOI = "AOI"
    BANDS = "BANDS"

    def add_raster(self) -> None:
        """Add the parameters for the image and where to look in it."""
        self.add(
            QgsProcessingParameterRasterLayer(self.INPUT, title("raster")),
            tr("An aerial or satellite image in natural colours, best at 0.1 to 0.6 m per pixel. Files, web maps, databases."),
        )
        self.add(
            QgsProcessingParameterExtent(self.EXTENT, tr("Extent"), optional=True),
            tr("Look in this rectangle alone; it may be in any CRS. Without one, in all of the image."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                self.AOI, tr("Area of interest"), [QgsProcessing.SourceType.TypeVectorPolygon], optional=True
            ),
            tr("Look inside these polygons alone; they may be in any CRS. With an extent too, inside both."),
        )

    def why_not_seen(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """Return why the image cannot be seen in this way; empty where nothing speaks against it."""
        bands = self.parameterAsInts(parameters, self.BANDS, context)
        if bands and len(bands) not in (1, 3):
            return tr("{count} bands were chosen. Choose three, for red, green and blue, or one grey band.").format(
                count=len(bands)
            )
        layer = self.parameterAsRasterLayer(parameters, self.INPUT, context)
        everywhere = not parameters.get(self.EXTENT) and not parameters.get(self.AOI)
        if everywhere and layer is not None and layer.isValid() and not has_pixels(layer.dataProvider()):
            return tr("'{name}' is a map without an end. Choose an extent or an area of interest.").format(name=layer.name())
        return ""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Take everything that the thread needs of layers and project."""
        self._source = self.raster_source(parameters, self.INPUT, context)
        self._rectangle = self.parameterAsExtent(parameters, self.EXTENT, context, self._source.crs)
        self._aoi = None
        if parameters.get(self.AOI):
            self._aoi = self.parameterAsSource(parameters, self.AOI, context)
            if self._aoi is None:
                raise QgsProcessingException(self.invalidSourceError(parameters, self.AOI))
            aoi_crs = self._aoi.sourceCrs() if self._aoi.sourceCrs().isValid() else self._source.crs
            self._within = None
            if not self._rectangle.isEmpty():
                self._within = self.parameterAsExtentGeometry(parameters, self.EXTENT, context, aoi_crs)
        return True

    def area(self, path: str) -> DetectionArea | None:
        """Return where to look, None for everywhere; polygons are written to a file."""
        if self._aoi is not None:
            return DetectionArea.polygons(
                self._aoi.getFeatures(), self._aoi.sourceCrs(), self._source, path, within=self._within
            )
        return None if self._rectangle.isEmpty() else DetectionArea(self._rectangle)
