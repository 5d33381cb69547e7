"""``maskdino:regularizeoutlines``: the outlines of any polygon layer drawn anew, without a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsFeature,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsVectorLayer,
    QgsWkbTypes,
)

from qgis_maskdino import options
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.layers.polygon_file import has_polygon, write_polygons
from qgis_maskdino.processing.engine_algorithm import listener, log_to
from qgis_maskdino.processing.layer_algorithm import LayerAlgorithm
from qgis_maskdino.translation import tr

_DRAWN = 90.0  # per cent; the rest is writing


class RegularizeOutlines(LayerAlgorithm):
    """Draws polygons anew; features, fields and CRS stay what they are, and so does what is no polygon."""

    ICON = "regularize"
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"
    REDRAWN = "REDRAWN"
    KEPT = "KEPT"
    CORNERS_BEFORE = "CORNERS_BEFORE"
    CORNERS_AFTER = "CORNERS_AFTER"

    def name(self) -> str:
        """Return the name that scripts know."""
        return "regularizeoutlines"

    def displayName(self) -> str:
        """Return the name that people see."""
        return tr("Regularize outlines")

    def tags(self) -> list[str]:
        """Return words to be found by."""
        return tr("right angles,orthogonalize,simplify,square,generalize,footprints,buildings,smooth").split(",")

    def shortDescription(self) -> str:
        """Return one sentence."""
        return tr("Draws the outlines of any building layer anew: few straight walls, at right angles.")

    def shortHelpString(self) -> str:
        """Return what stands beside the dialog."""
        return tr(
            "For building polygons with wavy, stepped or ragged outlines, whatever drew them: the outlines that this plugin's "
            "detections have are drawn for any layer, without a model and without the image.\n\n"
            "<i>Smallest detail</i> says what is a wall and what is noise. Where the polygons follow the pixels of an image, "
            "give the size of its pixels; more gives fewer corners.\n\n"
            "Each polygon is drawn by itself. Neighbours that share a wall may overlap, or leave a gap, by about that detail. "
            "Fields and CRS stay; metres are metres on the ground in any CRS. Invalid polygons are mended; curves become "
            "straight, and heights of corners are dropped."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Define parameters and outputs."""
        polygons, known = [QgsProcessing.SourceType.TypeVectorPolygon], options.regularize()
        self.add(
            QgsProcessingParameterFeatureSource(self.INPUT, tr("Polygons"), polygons),
            tr("Any polygon layer, or what is selected of it."),
        )
        self.add_option("OUTLINE", tr("Outline"), known["outline"])
        self.add_option("DETAIL", tr("Smallest detail [m]"), known["detail"], decimals=2)
        self.add(
            QgsProcessingParameterFeatureSink(
                self.OUTPUT, tr("Regularized outlines"), QgsProcessing.SourceType.TypeVectorPolygon
            ),
            tr("The same features with other outlines."),
        )
        self.addOutput(QgsProcessingOutputNumber(self.REDRAWN, tr("Polygons with another outline")))
        self.addOutput(QgsProcessingOutputNumber(self.KEPT, tr("Polygons left as they were")))
        self.addOutput(QgsProcessingOutputNumber(self.CORNERS_BEFORE, tr("Corners before")))
        self.addOutput(QgsProcessingOutputNumber(self.CORNERS_AFTER, tr("Corners after")))

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Refuse early what cannot work."""
        why_not = self.why_not_written(parameters, self.OUTPUT, (self.INPUT,), context)
        return (False, why_not) if why_not else super().checkParameterValues(parameters, context)

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Take a snapshot of the layer."""
        source = self.parameterAsSource(parameters, self.INPUT, context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, self.INPUT))
        self._source: QgsProcessingFeatureSource = source
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Draw."""
        with work_folder() as folder, self.explained(feedback):
            before, after = os.path.join(folder, "before.gpkg"), os.path.join(folder, "after.gpkg")
            write_polygons(self._numbered(), self._source.sourceCrs(), before)
            arguments = {"layer": before, "output": after, **self.options_given(parameters, context)}
            with EngineEnvironment().engine(on_log=log_to(feedback)) as engine:
                answer = engine.run(
                    "regularize", arguments, on_event=listener(feedback, end=_DRAWN), is_cancelled=feedback.isCanceled
                )
            if answer.get("cancelled"):
                return {}
            destination = self.write_layer(
                self._redrawn(after),
                parameters,
                self.OUTPUT,
                context,
                feedback,
                fields=self._source.fields(),
                geometry=self._geometry_type(),
                crs=self._source.sourceCrs(),
            )
        message = tr("{redrawn} polygons redrawn, {kept} left as they were; {after} corners instead of {before}.")
        feedback.pushInfo(
            message.format(
                redrawn=answer["redrawn"], kept=answer["kept"], before=answer["corners_before"], after=answer["corners_after"]
            )
        )
        figures = (self.REDRAWN, self.KEPT, self.CORNERS_BEFORE, self.CORNERS_AFTER)
        return {self.OUTPUT: destination, **{name: answer[name.lower()] for name in figures}}

    def _geometry_type(self) -> QgsWkbTypes.Type:
        return QgsWkbTypes.linearType(QgsWkbTypes.flatType(self._source.wkbType()))

    def _numbered(self) -> Iterator[QgsFeature]:
        """Yield the features with polygons, numbered: ids of a layer that is being edited may be anything."""
        for number, feature in enumerate(filter(has_polygon, self._source.getFeatures())):
            feature.setId(number)
            yield feature

    def _redrawn(self, path: str) -> Iterator[QgsFeature]:
        """Yield the features with the outlines of a file, which has one for each that has a polygon, in their order."""
        several = QgsWkbTypes.isMultiType(self._source.wkbType())
        outlines = QgsVectorLayer(path, "outlines", "ogr").getFeatures()
        for feature in self._source.getFeatures():
            if has_polygon(feature):
                geometry = next(outlines).geometry()
                if several:
                    geometry.convertToMultiType()
                else:
                    geometry.convertToSingleType()
                feature.setGeometry(geometry)
            yield feature
