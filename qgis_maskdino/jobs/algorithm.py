"""A Processing algorithm as a job of the panel: what a page starts is what the toolbox, a model and ``qgis_process`` start."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsMessageLog,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)

from qgis_maskdino.jobs.queue import Job, JobError
from qgis_maskdino.layers.results import add_result, open_result
from qgis_maskdino.translation import tr

LOG_TAG = "Mask DINO"
LOG_LINES = 200


class JobFeedback(QgsProcessingFeedback):
    """Passes on what an algorithm says: sentences to QGIS's log, the engine's own events to whoever listens."""

    def __init__(self) -> None:
        super().__init__(False)
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.warnings: list[str] = []
        self.failure: tuple[str, str] | None = None  # a sentence, and the way out
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None

    def engine_event(self, event: dict[str, Any]) -> None:
        """Take an event of the engine; what it logs arrives as sentences too, and is heard once."""
        if event.get("event") == "progress":
            self.on_event(event)

    def engine_failed(self, message: str, hint: str) -> None:
        """Take what went wrong and the way out, before they become one text."""
        self.failure = (message, hint)

    def setProgressText(self, text: str) -> None:
        self._log("info", text, Qgis.MessageLevel.Info)

    def pushInfo(self, info: str) -> None:
        self._log("info", info, Qgis.MessageLevel.Info)

    def pushWarning(self, warning: str) -> None:
        if warning not in self.warnings and len(self.warnings) < LOG_LINES:
            self.warnings.append(warning)
        self._log("warning", warning, Qgis.MessageLevel.Warning)

    def pushDebugInfo(self, info: str) -> None:
        self._log("info", info, Qgis.MessageLevel.Info)

    def pushCommandInfo(self, info: str) -> None:
        self._log("info", info, Qgis.MessageLevel.Info)

    def pushConsoleInfo(self, info: str) -> None:
        self._log("info", info, Qgis.MessageLevel.Info)

    def reportError(self, error: str, fatalError: bool = False) -> None:
        self._log("error", error, Qgis.MessageLevel.Critical)

    def _log(self, level: str, message: str, severity: Qgis.MessageLevel) -> None:
        self.log.append(message)
        QgsMessageLog.logMessage(message, LOG_TAG, severity, False)
        self.on_event({"event": "log", "level": level, "message": message})


class AlgorithmJob(Job):
    """Runs an algorithm of the registry.

    Args:
        algorithm: its id, such as ``maskdino:detectbuildings``.
        parameters: by name; layers by their ids.
        title: what people see.
    """

    def __init__(self, algorithm: str, parameters: dict[str, Any], *, title: str) -> None:
        super().__init__(title)
        self.parameters = parameters
        self._id = algorithm
        self._algorithm = None
        self._context: QgsProcessingContext | None = None
        self._feedback: JobFeedback | None = None
        self._project_is_closed = False
        QgsProject.instance().cleared.connect(self._leave_project)

    def prepare(self) -> None:
        self._algorithm = QgsApplication.processingRegistry().createAlgorithmById(self._id)
        if self._algorithm is None:
            raise JobError(tr("The algorithm {} is not there.").format(self._id), hint=tr("Load the plugin again."))
        able, why_not = self._algorithm.canExecute()
        if not able:
            raise JobError(why_not)
        self._feedback = JobFeedback()
        self._context = QgsProcessingContext()
        self._context.setProject(QgsProject.instance())
        self._context.setFeedback(self._feedback)
        valid, why_not = self._algorithm.checkParameterValues(self.parameters, self._context)
        if not valid:
            raise JobError(why_not)
        try:
            prepared = self._algorithm.prepare(self.parameters, self._context, self._feedback)
        except QgsProcessingException as error:
            raise JobError(str(error), details=self.details()) from error
        if not prepared:
            raise JobError(self._last_words(), details=self.details())

    def work(self, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        self._feedback.on_event = on_event
        try:
            return self._algorithm.runPrepared(self.parameters, self._context, self._feedback)
        except QgsProcessingException as error:
            message, hint = self._feedback.failure or (str(error), "")
            raise JobError(message, hint=hint or None, details=self.details()) from error

    def cancel(self) -> None:
        if self._feedback is not None:
            self._feedback.cancel()

    def finish(self) -> None:
        self.warnings.extend(self._feedback.warnings)
        self._algorithm.postProcess(self._context, self._feedback)

    def is_cancelled(self) -> bool:
        """Return whether the job was cancelled while it ran."""
        return self._feedback is not None and self._feedback.isCanceled()

    def show_layer(self, layer: QgsVectorLayer, *, beside: str) -> None:
        """Add a layer to the project that the job was started in; where that was closed, say so, and offer to add it.

        Args:
            beside: the id of the layer that it was made of.
        """
        if not self._project_is_closed:
            add_result(layer, beside=beside)
            return
        source, name = layer.source(), layer.name()
        where = source.partition("|")[0]
        self.warnings.insert(0, tr("Its project was closed. The layer is in {}.").format(where))
        # Opened again, with the style in its file: a message that nobody answers holds no layer.
        self.offer = (tr("Add it to this project"), lambda: add_result(open_result(source, name=name)))

    def _leave_project(self) -> None:
        self._project_is_closed = True

    def details(self) -> str:
        """Return the end of what was said while the job ran."""
        return "\n".join(self._feedback.log) if self._feedback is not None else ""

    def _last_words(self) -> str:
        return self._feedback.log[-1] if self._feedback.log else tr("The job could not be prepared.")
