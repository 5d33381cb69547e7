"""``maskdino:segment``: a class for each pixel of a raster layer."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
)

from qgis_maskdino import options
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.jobs.progress_text import duration
from qgis_maskdino.jobs.raster_run import RasterRequest, RasterRun
from qgis_maskdino.layers.output_file import layers_using, shown_names
from qgis_maskdino.layers.style import CLASSES, style_when_loaded
from qgis_maskdino.processing.engine_algorithm import device_option, listener, log_to
from qgis_maskdino.processing.raster_algorithm import RasterAlgorithm
from qgis_maskdino.translation import tr
from qgis_maskdino.words import title

_LEGEND = ".aux.xml"  # what GDAL keeps beside a raster
_MOST_CLASSES = 20  # in the log


class SegmentRaster(RasterAlgorithm):
    """Gives each pixel a class; the raster takes its place when it is whole."""

    ICON = "segment"
    MODEL = "MODEL"
    OUTPUT = "OUTPUT"
    SECONDS = "SECONDS"

    def name(self) -> str:
        """Return the name that scripts know."""
        return "segment"

    def displayName(self) -> str:
        """Return the name that people see."""
        return tr("Segment an image into classes")

    def tags(self) -> list[str]:
        """Return words to be found by."""
        return tr("semantic segmentation,land cover,land use,classification,classes,deep learning,imagery").split(",")

    def shortDescription(self) -> str:
        """Return one sentence."""
        return tr("Gives each pixel of an aerial or satellite image a class, such as road, water or tree.")

    def shortHelpString(self) -> str:
        """Return what stands beside the dialog."""
        return tr(
            "Gives each pixel of an image the class that a model scores highest there. The result is a raster of one byte per "
            "pixel on the image's own grid, with names and colours of the classes; 255 is no data.\n\n"
            "No such model comes with the plugin. Any for semantic or panoptic segmentation will do: a published checkpoint "
            "that was converted with <i>maskdino models convert</i>, or one of your own. What it knows are the classes that it "
            "was trained on, in pictures such as it was trained on.\n\n"
            "The result does not depend on how the image is cut into tiles. Web maps, databases and virtual layers are fetched "
            "first, as fine as the model wants them: choose an area for those."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Define parameters and outputs."""
        known = options.segment()
        self.add_raster()
        self.add(QgsProcessingParameterFile(self.MODEL, title("model"), extension="safetensors"), known["model"].help)
        self.add_option("CLASSES", title("classes"), known["classes"])
        self.add_option("PROBABILITIES", tr("Class whose probability is written"), known["probabilities"], advanced=True)
        self.add_option(self.BANDS, title("bands"), known["bands"], advanced=True, bands_of=self.INPUT)
        self.add_option("GSD", title("gsd", unit="m/px"), known["gsd"], advanced=True, decimals=3)
        self.add_option("DEVICE", title("device"), device_option(), advanced=True)
        self.add(
            QgsProcessingParameterRasterDestination(self.OUTPUT, tr("Classes")),
            tr("Numbers of the classes, with their names and colours; or the probability of one, 0 to 1."),
        )
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, tr("Time taken [s]")))

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Refuse early what cannot work."""
        why_not = (
            self.why_not_seen(parameters, context)
            or self._why_no_model(self.parameterAsFile(parameters, self.MODEL, context))
            or self.why_not_written(parameters, self.OUTPUT, (self.INPUT, self.AOI), context)
            or self._why_not_replaced(self.parameterAsOutputLayer(parameters, self.OUTPUT, context), context)
        )
        return (False, why_not) if why_not else super().checkParameterValues(parameters, context)

    def _why_no_model(self, path: str) -> str:
        return "" if not path or os.path.isfile(path) else tr("The model file {path} does not exist.").format(path=path)

    def _why_not_replaced(self, path: str, context: QgsProcessingContext) -> str:
        if os.path.splitext(path)[1].lower() not in (".tif", ".tiff"):
            return tr("The output {path} is no GeoTIFF. Name a .tif.").format(path=path)
        used_by = layers_using(path, context.project()) if context.project() is not None else []
        if not used_by:
            return ""
        return tr(
            "The project uses the output {path} in its layer {layers}. Name another file, or remove the layer from the project."
        ).format(path=path, layers=shown_names(used_by))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Segment, and put the raster where it belongs."""
        destination = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        with ExitStack() as stack:
            folder = stack.enter_context(work_folder())
            stack.enter_context(self.explained(feedback))
            request = RasterRequest(
                source=self._source,
                output=os.path.join(folder, "classes.tif"),
                area=self.area(os.path.join(folder, "area.gpkg")),
                options={
                    "model": self.parameterAsFile(parameters, self.MODEL, context),
                    **self.options_given(parameters, context),
                },
            )
            engine = stack.enter_context(EngineEnvironment().engine(on_log=log_to(feedback)))
            answer = RasterRun("segment", request, engine, folder, listener(feedback), feedback.isCanceled).run()
            if answer.get("cancelled"):
                return {}
            _put(request.output, destination)
        _log(answer, feedback)
        seen = frozenset(name for name, cover in answer["classes"].items() if cover["pixels"])
        style_when_loaded(destination, CLASSES, context, classes=seen)
        return {self.OUTPUT: destination, self.SECONDS: answer["seconds"]["total"]}


def _put(made: str, path: str) -> None:
    """Move a raster, and what describes it, to where they belong.

    Raises:
        QgsProcessingException: they cannot be; what was there is as it was.
    """
    growing = f"{path}.part"
    try:
        shutil.copyfile(made, growing)
        if os.path.exists(path + _LEGEND):  # of what was there
            os.remove(path + _LEGEND)
        os.replace(growing, path)
        if os.path.exists(made + _LEGEND):
            shutil.copyfile(made + _LEGEND, path + _LEGEND)
    except OSError as error:
        if os.path.exists(growing):
            os.remove(growing)
        raise QgsProcessingException(
            tr("The output {path} cannot be written: {error}.").format(path=path, error=error.strerror)
        ) from error


def _log(answer: dict[str, Any], feedback: QgsProcessingFeedback) -> None:
    covers = sorted(answer["classes"].items(), key=lambda item: -item[1]["pixels"])
    for name, cover in covers[:_MOST_CLASSES]:
        if cover["pixels"] and cover["area_m2"] is not None:
            text = tr("{name}: {pixels:,} pixels, {area:,.0f} m2")
            feedback.pushInfo(text.format(name=name, pixels=cover["pixels"], area=cover["area_m2"]))
        elif cover["pixels"]:
            feedback.pushInfo(tr("{name}: {pixels:,} pixels").format(name=name, pixels=cover["pixels"]))
    text = tr("Done in {time} on {device}.")
    feedback.pushInfo(text.format(time=duration(answer["seconds"]["total"]), device=answer["device"]))
