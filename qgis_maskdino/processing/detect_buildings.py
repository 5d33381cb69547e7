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
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFile,
    QgsProcessingUtils,
    QgsVectorLayer,
    QgsWkbTypes,
)

from qgis_maskdino import options
from qgis_maskdino.backend.model_choice import DEFAULT, model_argument, model_names
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.jobs.detection import DetectionResult, detect
from qgis_maskdino.jobs.progress_text import duration
from qgis_maskdino.jobs.provenance import provenance
from qgis_maskdino.jobs.raster_run import RasterRequest
from qgis_maskdino.layers.appending import appends
from qgis_maskdino.layers.polygon_file import copied_features, fields_of
from qgis_maskdino.layers.style import DETECTIONS
from qgis_maskdino.processing.engine_algorithm import (
    device_option,
    listener,
    log_to,
)
from qgis_maskdino.processing.raster_algorithm import RasterAlgorithm
from qgis_maskdino.translation import tr
from qgis_maskdino.words import title

_DETECTED = 98.0  # per cent; the rest is handing over


class DetectBuildings(RasterAlgorithm):
    """Detects in the thread that Processing chooses; everything of the layers is taken in ``prepareAlgorithm``."""

    MODEL = "MODEL"
    MODEL_FILE = "MODEL_FILE"
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
        self.add_raster()
        self.add(
            QgsProcessingParameterEnum(
                self.MODEL, title("model"), options=model_names() or [DEFAULT], defaultValue=DEFAULT, usesStaticStrings=True
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
        self.add_option("SCORE", title("score"), known["score"], decimals=2)
        self.add_option("OUTLINE", title("outline"), known["outline"])
        self.add_option(self.BANDS, title("bands"), known["bands"], advanced=True, bands_of=self.INPUT)
        self.add_option("GSD", title("gsd", unit="m/px"), known["gsd"], advanced=True, decimals=3)
        self.add_option("MIN_AREA", title("min_area", unit="m²"), known["min_area"], advanced=True, decimals=1)
        self.add_option("DEVICE", title("device"), device_option(), advanced=True)
        self.add(
            QgsProcessingParameterFeatureSink(
                self.OUTPUT, tr("Buildings"), QgsProcessing.SourceType.TypeVectorPolygon, supportsAppend=True
            ),
            tr(
                "One polygon per building, in the image's CRS, with 'score' and 'area_m2'; of a model of several classes one "
                "per object, with its 'class'."
            ),
        )
        self.add_option("CLASSES", title("classes"), known["classes"], advanced=True)
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
        model = self.parameterAsFile(parameters, self.MODEL_FILE, context)
        if model and not os.path.isfile(model):
            return False, tr("The model file {path} does not exist.").format(path=model)
        replace = self.parameterAsBool(parameters, self.OVERWRITE, context)
        why_not = self.why_not_seen(parameters, context) or self.why_not_written(
            parameters, self.OUTPUT, (self.INPUT, self.AOI), context, replace=replace
        )
        if why_not:
            return False, why_not
        return super().checkParameterValues(parameters, context)

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Detect, and hand the buildings over to the sink."""
        with work_folder() as folder, self.explained(feedback):
            request = self._request(parameters, folder, context)
            result = detect(
                request,
                on_event=listener(feedback, end=_DETECTED),
                is_cancelled=feedback.isCanceled,
                on_log=log_to(feedback),
            )
            _log(result, feedback)
            if result.path is None:
                return {}
            destination = self._hand_over(result, parameters, context, feedback)
        if result.cancelled or not appends(parameters[self.OUTPUT]):
            self.dress(destination, DETECTIONS, context, metadata=provenance(request, result))
        return {
            self.OUTPUT: destination,
            self.COUNT: result.count,
            self.AREA: result.area,
            self.SECONDS: result.seconds,
        }

    def _request(self, parameters: dict[str, Any], folder: str, context: QgsProcessingContext) -> RasterRequest:
        model = self.parameterAsFile(parameters, self.MODEL_FILE, context)
        return RasterRequest(
            source=self._source,
            output=os.path.join(folder, "buildings.gpkg"),
            area=self.area(os.path.join(folder, "area.gpkg")),
            options={
                "model": model or model_argument(self.parameterAsString(parameters, self.MODEL, context)),
                **self.options_given(parameters, context),
            },
        )

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
        if result.cancelled and appends(parameters[self.OUTPUT]):
            # Nobody could tell the part that was found from what is there.
            beside = QgsProcessingUtils.generateTempFilename("buildings.gpkg")
            parameters = {**parameters, self.OUTPUT: beside}
            feedback.pushWarning(tr("Nothing was appended; what was found is in {path}.").format(path=beside))
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
