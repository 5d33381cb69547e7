"""The Processing provider ``maskdino``: what the toolbox, the model designer and ``qgis_process`` see."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from qgis_maskdino.icons import LOGO, icon_path
from qgis_maskdino.processing.convert_model import ConvertModel
from qgis_maskdino.processing.detect_buildings import DetectBuildings
from qgis_maskdino.processing.evaluate_detections import EvaluateDetections
from qgis_maskdino.processing.export_training_data import ExportTrainingData
from qgis_maskdino.processing.regularize_outlines import RegularizeOutlines
from qgis_maskdino.processing.segment_raster import SegmentRaster
from qgis_maskdino.processing.train_model import TrainModel
from qgis_maskdino.translation import tr


class MaskDinoProvider(QgsProcessingProvider):
    """Offers the algorithms."""

    def id(self) -> str:
        """Return what scripts and models know the provider by."""
        return "maskdino"

    def name(self) -> str:
        """Return what people see."""
        return "Mask DINO"

    def longName(self) -> str:
        """Return what people see where there is more room."""
        return tr("Mask DINO: buildings from imagery")

    def icon(self) -> QIcon:
        """Return the plugin's icon."""
        return QIcon(self.svgIconPath())

    def svgIconPath(self) -> str:
        """Return the file of the plugin's icon."""
        return icon_path(LOGO)

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Return what rasters can be written as."""
        return ["tif"]

    def loadAlgorithms(self) -> None:
        """Add the algorithms."""
        for algorithm in (
            DetectBuildings,
            SegmentRaster,
            RegularizeOutlines,
            EvaluateDetections,
            ExportTrainingData,
            TrainModel,
            ConvertModel,
        ):
            self.addAlgorithm(algorithm())
