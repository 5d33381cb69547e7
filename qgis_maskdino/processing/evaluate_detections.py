"""``maskdino:evaluatedetections``: how good a layer of detections is, measured by a layer of annotations."""

from __future__ import annotations

import os
import re
from typing import Any

from qgis.core import (
    QgsField,
    QgsFields,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsVectorLayer,
)

from qgis_maskdino import options
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.layers.polygon_file import copied_features, write_polygons
from qgis_maskdino.layers.style import MATCHES, style_when_loaded
from qgis_maskdino.processing.engine_algorithm import listener, log_to, number, shown_file
from qgis_maskdino.processing.layer_algorithm import LayerAlgorithm
from qgis_maskdino.translation import tr

# Outputs by the names of the engine's figures, see ``training/evaluation/layers/figures.py``.
FIGURES = {
    "PRECISION": "precision",
    "RECALL": "recall",
    "F1": "f1",
    "BEST_F1": "best_f1",
    "BEST_F1_SCORE": "best_f1_score",
    "AP50": "ap50",
    "AP75": "ap75",
    "AP": "ap",
    "TRUE_POSITIVES": "true_positives",
    "FALSE_POSITIVES": "false_positives",
    "MISSED": "missed",
    "MEAN_IOU": "mean_iou",
    "AREA_ERROR": "area_error",
    "POLIS": "polis",
    "BOUNDARY_IOU": "boundary_iou",
}
_SCORES = ("score", "confidence", "conf", "probability")  # where the engine looks for scores by itself
_COMPARED = 90.0  # per cent; the rest is writing


class EvaluateDetections(LayerAlgorithm):
    """Compares two layers one to one at an intersection over union of 0.5."""

    ICON = "evaluate"
    DETECTIONS = "DETECTIONS"
    ANNOTATIONS = "ANNOTATIONS"
    AOI = "AOI"
    SCORE_FIELD = "SCORE_FIELD"
    OUTPUT = "OUTPUT"
    REPORT = "REPORT"

    def name(self) -> str:
        """Return the name that scripts know."""
        return "evaluatedetections"

    def displayName(self) -> str:
        """Return the name that people see."""
        return tr("Evaluate detections")

    def tags(self) -> list[str]:
        """Return words to be found by."""
        return tr("accuracy,precision,recall,average precision,compare,validation,quality,ground truth").split(",")

    def shortDescription(self) -> str:
        """Return one sentence."""
        return tr("Says how good a layer of detected buildings is, measured by a layer of known ones.")

    def shortHelpString(self) -> str:
        """Return what stands beside the dialog."""
        return tr(
            "Compares detected buildings with known ones. A detection is a hit where it shares more than half of the ground "
            "(intersection over union of 0.5) with a known building, each known building being hit once.\n\n"
            "<i>Precision</i> is the share of detections that are hits, <i>recall</i> the share of known buildings that were "
            "hit. AP50, AP75 and AP are those of COCO; outlines are compared by area, PoLiS distance and boundary IoU.\n\n"
            "The layer shows each hit, false detection and missed building; the report is one page with figures and pictures. "
            "The layers may be in any CRS. Where annotations are complete in a part of the image alone, give that part as area "
            "of interest: elsewhere every detection would count as false."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Define parameters and outputs."""
        polygons, known = [QgsProcessing.SourceType.TypeVectorPolygon], options.evaluate()
        self.add(
            QgsProcessingParameterFeatureSource(self.DETECTIONS, tr("Detected buildings"), polygons),
            tr("Polygons to be judged, best with a score each."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(self.ANNOTATIONS, tr("Known buildings"), polygons),
            tr("Polygons of what really is there, one per building."),
        )
        self.add(
            QgsProcessingParameterFeatureSource(self.AOI, tr("Area of interest"), polygons, optional=True),
            tr("Compare inside these polygons alone: what lies there by more than half counts."),
        )
        self.add(
            QgsProcessingParameterField(
                self.SCORE_FIELD,
                tr("Field with the scores"),
                parentLayerParameterName=self.DETECTIONS,
                type=QgsProcessingParameterField.DataType.Numeric,
                optional=True,
            ),
            known["score_field"].help,
            advanced=True,
        )
        self.add_option(
            "BOUNDARY_WIDTH",
            tr("Width of the strip that boundary IoU compares [m]"),
            known["boundary_width"],
            advanced=True,
            decimals=2,
        )
        self.add(
            QgsProcessingParameterFeatureSink(
                self.OUTPUT, tr("Hits, false detections and missed buildings"), QgsProcessing.SourceType.TypeVectorPolygon
            ),
            tr("One polygon each, with 'result' (true positive, false positive, miss), IoU and errors of the outline."),
        )
        self.add(
            QgsProcessingParameterFileDestination(
                self.REPORT, tr("Report"), tr("Web pages (*.html)"), optional=True, createByDefault=True
            ),
            tr("One page with figures, curves and pictures; it needs nothing from the network."),
        )
        for name, figure in FIGURES.items():
            self.addOutput(QgsProcessingOutputNumber(name, figure.replace("_", " ")))

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Refuse early what cannot work."""
        for output in (self.OUTPUT, self.REPORT):
            why_not = self.why_not_written(parameters, output, (self.DETECTIONS, self.ANNOTATIONS, self.AOI), context)
            if why_not:
                return False, why_not
        return super().checkParameterValues(parameters, context)

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Take snapshots of the layers."""
        self._layers: dict[str, tuple[QgsProcessingFeatureSource, list[QgsField]]] = {}
        for name in (self.DETECTIONS, self.ANNOTATIONS, self.AOI):
            if name == self.AOI and not parameters.get(name):
                continue
            source = self.parameterAsSource(parameters, name, context)
            if source is None:
                raise QgsProcessingException(self.invalidSourceError(parameters, name))
            self._layers[name] = (source, [])
        score = self.parameterAsString(parameters, self.SCORE_FIELD, context)
        wanted = (score,) if score else _SCORES
        fields = self._layers[self.DETECTIONS][0].fields()
        self._layers[self.DETECTIONS][1].extend(field for field in fields if field.name().lower() in map(str.lower, wanted))
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Compare."""
        report = self.parameterAsFileOutput(parameters, self.REPORT, context)
        with work_folder() as folder, self.explained(feedback):
            arguments = self._arguments(parameters, folder, context)
            matches = os.path.join(folder, "matches.gpkg")
            arguments["output"] = matches
            if report:
                arguments["report"] = report
            with EngineEnvironment().engine(on_log=log_to(feedback)) as engine:
                answer = engine.run(
                    "evaluate",
                    arguments,
                    on_event=listener(feedback, end=_COMPARED),
                    is_cancelled=feedback.isCanceled,
                )
            if answer.get("cancelled"):
                return {}
            destination = self._write(matches, parameters, context, feedback)
        figures = answer["figures"]
        for warning in answer["warnings"]:
            feedback.pushWarning(warning)
        feedback.pushInfo(
            tr("Precision {precision}, recall {recall}, F1 {f1}, AP50 {ap50}.").format(
                **{name: _shown(figures[name]) for name in ("precision", "recall", "f1", "ap50")}
            )
        )
        style_when_loaded(destination, MATCHES, context)
        results: dict[str, Any] = {name: number(figures, figure) for name, figure in FIGURES.items()}
        results[self.OUTPUT] = destination
        if report:
            feedback.pushInfo(shown_file(report))
            results[self.REPORT] = report
        return results

    def _arguments(self, parameters: dict[str, Any], folder: str, context: QgsProcessingContext) -> dict[str, Any]:
        """Write the layers to files, and return the arguments that name them."""
        arguments = self.options_given(parameters, context)
        score = self.parameterAsString(parameters, self.SCORE_FIELD, context)
        if score:
            arguments["score_field"] = score
        for name, (source, fields) in self._layers.items():
            # The report calls a layer by the name of its file.
            place = os.path.join(folder, name.lower())
            os.mkdir(place)
            title = re.sub(r"[^\w .()+-]", "_", source.sourceName()) or name.lower()
            path = os.path.join(place, f"{title}.gpkg")
            write_polygons(source.getFeatures(), source.sourceCrs(), path, fields=fields)
            arguments[name.lower()] = path
        return arguments

    def _write(
        self, matches: str, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> str:
        """Copy the engine's layer to the output."""
        layer = QgsVectorLayer(matches, "matches", "ogr")
        fields = QgsFields()
        for field in layer.fields():
            if field.name() != "fid":
                fields.append(field)
        rows = copied_features(layer, fields)
        return self.write_layer(
            rows, parameters, self.OUTPUT, context, feedback, fields=fields, geometry=layer.wkbType(), crs=layer.crs()
        )


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"
