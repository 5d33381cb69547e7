"""An evaluation of the panel: the algorithm's work, its figures for people, and its layer of hits and misses."""

from __future__ import annotations

from qgis_maskdino.jobs.algorithm import AlgorithmJob
from qgis_maskdino.jobs.queue import JobError, JobState
from qgis_maskdino.layers.results import open_result
from qgis_maskdino.layers.style import MATCHES
from qgis_maskdino.translation import tr


class EvaluationJob(AlgorithmJob):
    """Runs ``maskdino:evaluatedetections`` and adds its layer to the project.

    Args:
        detections_name: of the layer that is judged.
        detections: its id.
        annotations: the id of the layer that it is judged by.
        area: the id of a layer of polygons to compare in; None everywhere.
        output: a file for the layer of hits and misses.
        report: a file for the report.

    Attributes:
        report: the page with figures and pictures.
    """

    def __init__(
        self, *, detections_name: str, detections: str, annotations: str, area: str | None, output: str, report: str
    ) -> None:
        parameters = {"DETECTIONS": detections, "ANNOTATIONS": annotations, "OUTPUT": output, "REPORT": report}
        if area is not None:
            parameters["AOI"] = area
        super().__init__("maskdino:evaluatedetections", parameters, title=tr("Evaluation of {}").format(detections_name))
        self.report = report
        self._detections = detections
        self._detections_name = detections_name

    def finish(self) -> None:
        super().finish()
        source = self.results.get("OUTPUT")
        if not source:
            return  # cancelled
        layer = open_result(str(source), name=tr("Hits and misses: {}").format(self._detections_name), style=MATCHES)
        if layer is None:
            raise JobError(tr("The matches are in {}, which QGIS cannot open.").format(source), details=self.details())
        self.show_layer(layer, beside=self._detections)

    def summary(self) -> str:
        if self.state is not JobState.DONE:
            return ""
        words = ((tr("precision"), "PRECISION"), (tr("recall"), "RECALL"), ("F1", "F1"))
        return " · ".join(f"{word} {_share(self.results.get(name))}" for word, name in words)

    def figures(self) -> list[tuple[str, str, str]]:
        """Return name, value and meaning of each figure, the ones that people ask for first."""
        given = self.results
        return [
            (tr("Precision"), _share(given.get("PRECISION")), tr("Share of the detections that are buildings.")),
            (tr("Recall"), _share(given.get("RECALL")), tr("Share of the buildings that were found.")),
            ("F1", _share(given.get("F1")), tr("Precision and recall in one figure: their harmonic mean.")),
            (
                tr("Best F1"),
                f"{_share(given.get('BEST_F1'))} ({tr('score')} {_share(given.get('BEST_F1_SCORE'))})",
                tr("What F1 would be at the best minimum score, and that score."),
            ),
            ("AP50", _share(given.get("AP50")), tr("Average precision at an intersection over union of 0.5.")),
            ("AP", _share(given.get("AP")), tr("Average precision, over thresholds from 0.5 to 0.95, as COCO has it.")),
            (tr("Hits"), _count(given.get("TRUE_POSITIVES")), tr("Detections that agree with a building.")),
            (tr("False detections"), _count(given.get("FALSE_POSITIVES")), tr("Detections that agree with none.")),
            (tr("Missed"), _count(given.get("MISSED")), tr("Buildings that no detection agrees with.")),
            (tr("Mean IoU of hits"), _share(given.get("MEAN_IOU")), tr("How well the outlines of hits agree.")),
            (
                tr("Distance of outlines"),
                "–" if given.get("POLIS") is None else f"{given['POLIS']:.2f} m",
                tr("PoLiS: the mean distance of corners from the other outline."),
            ),
        ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{int(value):,}"
