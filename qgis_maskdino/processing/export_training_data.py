"""``maskdino:exporttrainingdata``: a raster layer and its known buildings become a data set to train on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsRectangle,
)

from qgis_maskdino import options
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.layers.polygon_file import write_polygons
from qgis_maskdino.layers.raster_export import ExportCancelled, export_raster
from qgis_maskdino.processing.engine_algorithm import EngineAlgorithm, listener, log_to, shown_file
from qgis_maskdino.translation import tr


class ExportTrainingData(EngineAlgorithm):
    """Cuts tiles in the layout of MapChallenge: ``images/`` and ``annotation.json``."""

    ICON = "export"
    INPUT = "INPUT"
    ANNOTATIONS = "ANNOTATIONS"
    AOI = "AOI"
    SPLIT = "SPLIT"
    TRAINING_SHARE = "TRAINING_SHARE"
    BANDS = "BANDS"
    OUTPUT = "OUTPUT"
    IMAGES = "IMAGES"
    FOOTPRINTS = "FOOTPRINTS"

    def name(self) -> str:
        """Return the name that scripts know."""
        return "exporttrainingdata"

    def displayName(self) -> str:
        """Return the name that people see."""
        return tr("Export training data")

    def tags(self) -> list[str]:
        """Return words to be found by."""
        return tr("dataset,COCO,tiles,chips,annotations,MapChallenge,machine learning").split(",")

    def shortDescription(self) -> str:
        """Return one sentence."""
        return tr("Cuts an image and its known buildings into tiles that a model can be trained on.")

    def shortHelpString(self) -> str:
        """Return what stands beside the dialog."""
        return tr(
            "Cuts an image and the outlines of its buildings into a data set in the layout of MapChallenge (COCO): a folder "
            "<i>images</i> and a file <i>annotation.json</i>.\n\n"
            "The outlines must be complete where tiles are cut: a building without one teaches that buildings are none. Where "
            "they are complete in a part of the image alone, give that part as area of interest.\n\n"
            "Split, the folder holds <i>train</i> and <i>val</i>, which share no ground: that is what <i>Train a model</i> "
            "wants."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Define parameters and outputs."""
        polygons = [QgsProcessing.SourceType.TypeVectorPolygon]
        self.add(
            QgsProcessingParameterRasterLayer(self.INPUT, tr("Image")),
            tr("Any raster layer. Web maps are fetched for the area of interest first: give a ground sampling distance too."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(self.ANNOTATIONS, tr("Known buildings"), polygons),
            tr("Polygons, one per building, in any CRS."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(self.AOI, tr("Area of interest"), polygons, optional=True),
            tr("Polygons inside which the known buildings are complete; nothing outside is used."),
        )
        self.add(
            QgsProcessingParameterBoolean(self.SPLIT, tr("Split into training and validation"), defaultValue=True),
            tr("By blocks of ground with unused ground between them, so that no roof is in both."),
        )
        self.add(
            QgsProcessingParameterNumber(
                self.TRAINING_SHARE,
                tr("Share of the ground for training"),
                QgsProcessingParameterNumber.Type.Double,
                0.8,
                minValue=0.05,
                maxValue=0.95,
            ),
            tr("The rest is for validation."),
            decimals=2,
        )
        known = options.export_dataset()
        self.add_option("TILE_SIZE", tr("Tile size [pixels]"), known["tile_size"])
        self.add_option("STRIDE", tr("Stride [pixels]"), known["stride"], advanced=True)
        self.add_option("GSD", tr("Ground sampling distance [m]"), known["gsd"], advanced=True, decimals=3)
        self.add_option(self.BANDS, tr("Bands for red, green and blue"), known["bands"], advanced=True, bands_of=self.INPUT)
        self.add_option("SEED", tr("Seed of the split"), known["seed"], advanced=True)
        self.add_option("IMAGE_FORMAT", tr("Image format"), known["image_format"], advanced=True)
        self.add(
            QgsProcessingParameterFolderDestination(self.OUTPUT, tr("Folder for the data set")),
            tr("A new or empty folder."),
        )
        self.addOutput(QgsProcessingOutputNumber(self.IMAGES, tr("Number of tiles")))
        self.addOutput(QgsProcessingOutputNumber(self.FOOTPRINTS, tr("Number of outlines in them")))

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Refuse early what cannot work."""
        bands = self.parameterAsInts(parameters, self.BANDS, context)
        if bands and len(bands) != 3:
            return False, tr("{count} bands were chosen. Choose three, for red, green and blue.").format(count=len(bands))
        folder = parameters.get(self.OUTPUT)
        if isinstance(folder, str) and os.path.isdir(folder) and os.listdir(folder):
            return False, tr("The folder {path} is not empty. Choose another one.").format(path=folder)
        return super().checkParameterValues(parameters, context)

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Take everything that the thread needs of layers and project."""
        self._source = self.raster_source(parameters, self.INPUT, context)
        self._layers = {}
        for name in (self.ANNOTATIONS, self.AOI):
            if name == self.AOI and not parameters.get(name):
                continue
            self._layers[name] = self.parameterAsSource(parameters, name, context)
            if self._layers[name] is None:
                raise QgsProcessingException(self.invalidSourceError(parameters, name))
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Export."""
        output = self.parameterAsFileOutput(parameters, self.OUTPUT, context)
        with work_folder() as folder, self.explained(feedback):
            arguments = {**self._arguments(parameters, context), "output": output}
            for name, source in self._layers.items():
                arguments[name.lower()] = os.path.join(folder, f"{name.lower()}.gpkg")
                bounds = write_polygons(source.getFeatures(), source.sourceCrs(), arguments[name.lower()])
                ground = self._source.bounds_of(bounds, source.sourceCrs())  # the area's, where there is one
            on_event = listener(feedback)
            if self._source.path is None:
                try:
                    arguments["raster"] = self._fetch(folder, ground, arguments.get("gsd"), on_event, feedback)
                except ExportCancelled:
                    return {}
            with EngineEnvironment().engine(on_log=log_to(feedback)) as engine:
                answer = engine.run(
                    "export-dataset",
                    arguments,
                    on_event=on_event,
                    is_cancelled=feedback.isCanceled,
                )
        if answer.get("cancelled"):
            return {}
        images, footprints = sum(answer["images"].values()), sum(answer["annotations"].values())
        for side, count in answer["images"].items():
            feedback.pushInfo(
                tr("{side}: {images} tiles with {footprints} outlines.").format(
                    side=side or tr("In all"), images=count, footprints=answer["annotations"][side]
                )
            )
        feedback.pushInfo(shown_file(output))
        return {self.OUTPUT: output, self.IMAGES: images, self.FOOTPRINTS: footprints}

    def _arguments(self, parameters: dict[str, Any], context: QgsProcessingContext) -> dict[str, Any]:
        arguments: dict[str, Any] = {"raster": self._source.path, **self.options_given(parameters, context)}
        if self.parameterAsBool(parameters, self.SPLIT, context):
            arguments["split"] = self.parameterAsDouble(parameters, self.TRAINING_SHARE, context)
        return arguments

    def _fetch(
        self,
        folder: str,
        ground: QgsRectangle,
        gsd: float | None,
        on_event: Callable[[dict[str, Any]], None],
        feedback: QgsProcessingFeedback,
    ) -> str:
        """Export a layer that is no file, where the annotations are complete."""
        path = os.path.join(folder, "layer.tif")
        export_raster(
            self._source,
            path,
            area=ground,
            gsd=gsd,
            margin=0,
            on_event=on_event,
            is_cancelled=feedback.isCanceled,
        )
        return path
