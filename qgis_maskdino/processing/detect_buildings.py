"""``maskdino:detectbuildings``: the buildings of a raster layer as polygons."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterLayer,
    QgsVectorLayer,
    QgsWkbTypes,
)

from qgis_maskdino import options
from qgis_maskdino.backend.model_choice import DEFAULT, model_argument, model_names
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.jobs.detection import DetectionRequest, DetectionResult, detect
from qgis_maskdino.jobs.progress_text import duration
from qgis_maskdino.layers.detection_area import DetectionArea
from qgis_maskdino.layers.polygon_file import copied_features, fields_of
from qgis_maskdino.layers.source import has_pixels
from qgis_maskdino.layers.style import DETECTIONS, style_when_loaded
from qgis_maskdino.processing.engine_algorithm import (
    device_option,
    listener,
    log_to,
)
from qgis_maskdino.processing.layer_algorithm import LayerAlgorithm
from qgis_maskdino.translation import tr

_DETECTED = 98.0  # per cent; the rest is handing over


class DetectBuildings(LayerAlgorithm):
    """Detects in the thread that Processing chooses; everything of the layers is taken in ``prepareAlgorithm``."""

    INPUT = "INPUT"
    EXTENT = "EXTENT"
    AOI = "AOI"
    MODEL = "MODEL"
    MODEL_FILE = "MODEL_FILE"
    BANDS = "BANDS"
    OUTPUT = "OUTPUT"
    OVERWRITE = "OVERWRITE"
    COUNT = "COUNT"
    AREA = "AREA"
    SECONDS = "SECONDS"

    def name(self) -> str:
        """Return the name that scripts know."""
        return "detectbuildings"

    def displayName(self) -> str:
        """Return the name that people see."""
        return tr("Detect buildings")

    def tags(self) -> list[str]:
        """Return words to be found by."""
        return tr("buildings,footprints,houses,roofs,instance segmentation,deep learning,imagery,vectorize").split(",")

    def shortDescription(self) -> str:
        """Return one sentence."""
        return tr("Finds the buildings of an aerial or satellite image and draws one polygon around each.")

    def shortHelpString(self) -> str:
        """Return what stands beside the dialog."""
        return tr(
            "Finds the buildings of an aerial or satellite image with Mask DINO and draws one clean polygon around each, "
            "with its <i>score</i> (0 to 1: how sure the model is) and <i>area_m2</i> (true ground area in any CRS).\n\n"
            "Any raster layer will do. Files are read as they are, of any size, 8 or 16 bit. Web maps, databases and virtual "
            "layers are fetched first, as fine as the model wants them: choose an area for those.\n\n"
            "The result does not depend on how the image is cut into tiles. A cancelled run leaves what it had found so far "
            "in the output, where that is a file.\n\n"
            "What is found depends on the model. The embedded one is small and knows few places: look at its result before "
            "you count on it, measure it with <i>Evaluate detections</i>, make it better with <i>Train a model</i>."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Define parameters and outputs."""
        self.add(
            QgsProcessingParameterRasterLayer(self.INPUT, tr("Image")),
            tr("An aerial or satellite image in natural colours, best at 0.1 to 0.6 m per pixel. Files, web maps, databases."),
        )
        self.add(
            QgsProcessingParameterExtent(self.EXTENT, tr("Extent"), optional=True),
            tr("Detect in this rectangle alone; it may be in any CRS. Without one, in all of the image."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                self.AOI, tr("Area of interest"), [QgsProcessing.SourceType.TypeVectorPolygon], optional=True
            ),
            tr("Detect inside these polygons alone; they may be in any CRS. With an extent too, inside both."),
        )
        self.add(
            QgsProcessingParameterEnum(
                self.MODEL, tr("Model"), options=model_names() or [DEFAULT], defaultValue=DEFAULT, usesStaticStrings=True
            ),
            tr("Models that come with the plugin, and those in your model folder (Settings > Options > Mask DINO)."),
        )
        self.add(
            QgsProcessingParameterFile(
                self.MODEL_FILE, tr("Model file, instead of the above"), extension="safetensors", optional=True
            ),
            tr("A model of your own: trained with 'Train a model', or a converted published checkpoint."),
            advanced=True,
        )
        known = options.detect()
        self.add_option("SCORE", tr("Lowest score"), known["score"], decimals=2)
        self.add_option("OUTLINE", tr("Outline"), known["outline"])
        self.add_option(self.BANDS, tr("Bands for red, green and blue"), known["bands"], advanced=True, bands_of=self.INPUT)
        self.add_option("GSD", tr("Ground sampling distance [m]"), known["gsd"], advanced=True, decimals=3)
        self.add_option("MIN_AREA", tr("Smallest area [m2]"), known["min_area"], advanced=True, decimals=1)
        self.add_option("DEVICE", tr("Device"), device_option(), advanced=True)
        self.add(
            QgsProcessingParameterFeatureSink(
                self.OUTPUT, tr("Buildings"), QgsProcessing.SourceType.TypeVectorPolygon, supportsAppend=True
            ),
            tr(
                "One polygon per building, in the image's CRS, with 'score' and 'area_m2'; of a model of several classes one "
                "per object, with its 'class'."
            ),
        )
        self.add_option("CLASSES", tr("Classes to find"), known["classes"], advanced=True)
        self.add(
            QgsProcessingParameterBoolean(self.OVERWRITE, tr("Replace all layers of a GeoPackage"), defaultValue=False),
            tr("Otherwise an output file that holds other layers too is refused."),
            advanced=True,
        )
        self.addOutput(QgsProcessingOutputNumber(self.COUNT, tr("Number of buildings")))
        self.addOutput(QgsProcessingOutputNumber(self.AREA, tr("Their area together [m2]")))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, tr("Time taken [s]")))

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Refuse early what cannot work."""
        bands = self.parameterAsInts(parameters, self.BANDS, context)
        if bands and len(bands) not in (1, 3):
            return False, tr("{count} bands were chosen. Choose three, for red, green and blue, or one grey band.").format(
                count=len(bands)
            )
        model = self.parameterAsFile(parameters, self.MODEL_FILE, context)
        if model and not os.path.isfile(model):
            return False, tr("The model file {path} does not exist.").format(path=model)
        layer = self.parameterAsRasterLayer(parameters, self.INPUT, context)
        everywhere = not parameters.get(self.EXTENT) and not parameters.get(self.AOI)
        if everywhere and layer is not None and layer.isValid() and not has_pixels(layer.dataProvider()):
            return False, tr("'{name}' is a map without an end. Choose an extent or an area of interest.").format(
                name=layer.name()
            )
        replace = self.parameterAsBool(parameters, self.OVERWRITE, context)
        why_not = self.why_not_written(parameters, self.OUTPUT, (self.INPUT, self.AOI), context, replace=replace)
        if why_not:
            return False, why_not
        return super().checkParameterValues(parameters, context)

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

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Detect, and hand the buildings over to the sink."""
        with work_folder() as folder, self.explained(feedback):
            result = detect(
                self._request(parameters, folder, context),
                on_event=listener(feedback, end=_DETECTED),
                is_cancelled=feedback.isCanceled,
                on_log=log_to(feedback),
            )
            _log(result, feedback)
            if result.path is None:
                return {}
            destination = self._hand_over(result, parameters, context, feedback)
        style_when_loaded(destination, DETECTIONS, context)
        return {
            self.OUTPUT: destination,
            self.COUNT: result.count,
            self.AREA: result.area,
            self.SECONDS: result.seconds,
        }

    def _request(self, parameters: dict[str, Any], folder: str, context: QgsProcessingContext) -> DetectionRequest:
        model = self.parameterAsFile(parameters, self.MODEL_FILE, context)
        return DetectionRequest(
            source=self._source,
            output=os.path.join(folder, "buildings.gpkg"),
            area=self._area(os.path.join(folder, "area.gpkg")),
            options={
                "model": model or model_argument(self.parameterAsString(parameters, self.MODEL, context)),
                **self.options_given(parameters, context),
            },
        )

    def _area(self, path: str) -> DetectionArea | None:
        if self._aoi is not None:
            return DetectionArea.polygons(
                self._aoi.getFeatures(), self._aoi.sourceCrs(), self._source, path, within=self._within
            )
        return None if self._rectangle.isEmpty() else DetectionArea(self._rectangle)

    def _hand_over(
        self,
        result: DetectionResult,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> str:
        """Copy the engine's buildings to the output, which is made now: a run that fails replaces nothing."""
        layer = QgsVectorLayer(f"{result.path}|layername={result.layer}", result.layer, "ogr")
        columns = ["score:double", "class:string", "area_m2:double"]
        fields = fields_of(*(column for column in columns if layer.fields().indexOf(column.partition(":")[0]) >= 0))
        rows = copied_features(layer, fields)
        try:
            return self.write_layer(
                rows,
                parameters,
                self.OUTPUT,
                context,
                feedback,
                fields=fields,
                geometry=QgsWkbTypes.Type.Polygon,
                crs=self._source.crs,
            )
        except QgsProcessingException as error:
            # An hour of work must not be lost for a disk that is full now.
            kept = shutil.copy(result.path, tempfile.mkdtemp(prefix="maskdino-"))
            raise QgsProcessingException(
                tr("{error} The buildings are kept in {path}.").format(error=error, path=kept)
            ) from error


def _log(result: DetectionResult, feedback: QgsProcessingFeedback) -> None:
    if result.cancelled:
        feedback.pushWarning(tr("Cancelled. Buildings found until then: {count}.").format(count=result.count))
    else:
        buildings = result.layer == "buildings"
        text = tr("{count:,} buildings in {time} on {device}.") if buildings else tr("{count:,} objects in {time} on {device}.")
        feedback.pushInfo(text.format(count=result.count, time=duration(result.seconds), device=result.device))
