"""Run our algorithms as QGIS does: in the main thread, as a script would, or in a background thread, as the toolbox does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication, QEventLoop


class Feedback(QgsProcessingFeedback):
    """Keeps what an algorithm says, and cancels when it is told to."""

    def __init__(self, *, cancel_at: Callable[[float], bool] = lambda progress: False) -> None:
        super().__init__(False)
        self.said: list[str] = []
        self.warned: list[str] = []
        self.progressChanged.connect(lambda progress: self.cancel() if cancel_at(progress) else None)

    def pushInfo(self, info: str) -> None:
        self.said.append(info)

    def pushWarning(self, warning: str) -> None:
        self.warned.append(warning)

    def pushDebugInfo(self, info: str) -> None:
        self.said.append(info)

    def reportError(self, error: str, fatalError: bool = False) -> None:
        self.said.append(error)


class Run:
    """An algorithm, by its id or as it is, that runs in a thread of QGIS's task manager."""

    def __init__(self, algorithm: Any, parameters: dict[str, Any], feedback: Feedback | None = None) -> None:
        self.feedback = feedback or Feedback()
        self.context = QgsProcessingContext()
        self.context.setProject(QgsProject.instance())
        self.algorithm = algorithm
        if isinstance(algorithm, str):
            self.algorithm = QgsApplication.processingRegistry().createAlgorithmById(algorithm)
        self.ok: bool | None = None
        self.results: dict[str, Any] = {}
        self._task = QgsProcessingAlgRunnerTask(self.algorithm, parameters, self.context, self.feedback)
        self._task.executed.connect(self._executed)
        QgsApplication.taskManager().addTask(self._task)

    def _executed(self, ok: bool, results: dict[str, Any]) -> None:
        self.ok, self.results = ok, results

    def wait(self, seconds: float = 400) -> dict[str, Any]:
        """Keep QGIS's main loop running until the algorithm is done."""
        process_events(lambda: self.ok is not None, seconds)
        assert self.ok, self.feedback.said
        return self.results

    def layer(self, name: str = "OUTPUT") -> QgsVectorLayer:
        """Return a layer that it brought."""
        return opened(self.results[name], self.context)


def run(algorithm: Any, parameters: dict[str, Any], feedback: Feedback | None = None) -> Run:
    """Run an algorithm in a background thread to its end."""
    started = Run(algorithm, parameters, feedback)
    started.wait()
    return started


def refusal(algorithm: str, parameters: dict[str, Any]) -> str:
    """Return why an algorithm does not take parameters; empty where it does."""
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    able, why_not = QgsApplication.processingRegistry().createAlgorithmById(algorithm).checkParameterValues(parameters, context)
    return "" if able else why_not


def failure(algorithm: str, parameters: dict[str, Any]) -> str:
    """Return the words with which an algorithm fails."""
    started = Run(algorithm, parameters)
    process_events(lambda: started.ok is not None, 400)
    assert started.ok is False
    return "\n".join(started.feedback.said)


def process_events(done: Callable[[], bool], seconds: float) -> None:
    """Run QGIS's main loop until something is done."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
        time.sleep(0.005)


def opened(source: str, context: QgsProcessingContext) -> QgsVectorLayer:
    """Open an output of an algorithm."""
    layer = context.temporaryLayerStore().mapLayer(source) or QgsVectorLayer(source, "output", "ogr")
    assert layer.isValid()
    return layer


def polygon_layer(crs: str, *wkt: str, fields: str = "") -> QgsVectorLayer:
    """Make a layer in memory."""
    layer = QgsVectorLayer(f"Polygon?crs={crs}{fields}", "polygons", "memory")
    features = []
    for text in wkt:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(_geometry(text))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def _geometry(text: str) -> Any:
    from qgis.core import QgsGeometry

    return QgsGeometry.fromWkt(text)
