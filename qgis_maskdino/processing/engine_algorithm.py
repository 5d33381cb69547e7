"""What all our algorithms share: they need an engine, run in background threads, and speak to people through a feedback."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
)
from qgis.PyQt.QtGui import QIcon

from qgis_maskdino import settings
from qgis_maskdino.backend.environment import EngineEnvironment, State
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.icons import icon_path
from qgis_maskdino.jobs.progress_text import progress_text
from qgis_maskdino.layers.raster_export import UNIT
from qgis_maskdino.layers.source import LayerSource
from qgis_maskdino.translation import tr

DEVICES = ("auto", "cpu", "cuda", "mps")
_TENTH = 10  # per cent between two lines in the log
_FETCHING = 0.3  # of the whole, where a layer has to be fetched


class EngineAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that the engine does the work of.

    Attributes:
        ICON: name of the icon, see ``icons``.
    """

    ICON = "detect"

    def createInstance(self) -> EngineAlgorithm:
        """Return another of this kind."""
        return type(self)()

    def icon(self) -> QIcon:
        """Return the icon; a file alone, for there may be no window."""
        return QIcon(self.svgIconPath())

    def svgIconPath(self) -> str:
        """Return the file of the icon."""
        return icon_path(self.ICON)

    def canExecute(self) -> tuple[bool, str]:
        """Return whether there is an engine, and if not, how to get one."""
        condition = EngineEnvironment().condition()
        return condition.state is State.READY, "" if condition.state is State.READY else condition.sentence

    def add(
        self,
        parameter: QgsProcessingParameterDefinition,
        help_text: str,
        *,
        advanced: bool = False,
        decimals: int | None = None,
    ) -> None:
        """Add a parameter with its help.

        Args:
            help_text: plain, one or more sentences.
            advanced: whether it is folded away.
            decimals: that the dialog shows of a number.
        """
        parameter.setHelp(help_text)
        if decimals is not None:
            parameter.setMetadata({"widget_wrapper": {"decimals": decimals}})
        if advanced:
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        self.addParameter(parameter)

    def raster_source(self, parameters: dict[str, Any], name: str, context: QgsProcessingContext) -> LayerSource:
        """Take what a thread needs of a raster layer. To be called in ``prepareAlgorithm``.

        Raises:
            QgsProcessingException: there is no such layer.
        """
        layer = self.parameterAsRasterLayer(parameters, name, context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, name))
        with self.explained():
            return LayerSource.of(layer, context.transformContext())

    @contextmanager
    def explained(self, feedback: QgsProcessingFeedback | None = None) -> Iterator[None]:
        """Turn an engine's error into the exception that Processing shows, its details into lines of the log."""
        try:
            yield
        except QgsProcessingException as error:
            _release_locals(error)
            raise
        except EngineError as error:
            _release_locals(error)
            if feedback is not None and error.details:
                feedback.pushDebugInfo(error.details)
            # Processing has one text for all of it; the panel's feedback keeps sentence and way out apart.
            tell = getattr(feedback, "engine_failed", lambda message, hint: None)
            tell(self._in_words(error.message), self._in_words(error.hint or ""))
            raise QgsProcessingException(self._in_words(str(error))) from error

    def _in_words(self, message: str) -> str:
        """Name parameters as this dialog does where the engine names options of its command line."""
        labels = {p.name(): p.description().partition(" [")[0] for p in self.parameterDefinitions()}

        def label(option: re.Match[str]) -> str:
            name = option[1].replace("-", "_").upper()
            return f"'{labels[name]}'" if name in labels else option[0]

        return re.sub(r"--([a-z]+(?:-[a-z]+)*)", label, message)


def _release_locals(error: BaseException | None) -> None:
    """Drop the local variables of the functions that an error came through.

    QGIS never lets go of the traceback of an exception that an algorithm raises. A layer in one would keep its file open until
    Python ends, and be deleted only then, after GDAL: that crashes.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def device_options() -> list[str]:
    """List the devices to choose from, that of the plugin's settings among them."""
    return list(dict.fromkeys([*DEVICES, settings.device()]))


def listener(feedback: QgsProcessingFeedback, *, end: float = 100.0) -> Callable[[dict[str, Any]], None]:
    """Return a function that tells a feedback of an engine's events.

    Its progress goes up to ``end`` per cent; where a layer has to be fetched first, that is a part of it.
    A feedback with a method ``engine_event``, as the panel's, is given the events as they are, too.
    """
    stages: list[str] = []
    told = [0]
    relay = getattr(feedback, "engine_event", None)

    def on_event(event: dict[str, Any]) -> None:
        if relay is not None:
            relay(event)
        if event.get("event") == "log":
            say = feedback.pushInfo if event.get("level") == "info" else feedback.pushWarning
            say(str(event.get("message")))
        elif event.get("event") == "progress" and event.get("total"):
            unit = str(event.get("unit"))
            if stages[-1:] != [unit]:
                stages.append(unit)
                told[0] = 0
            share = min(1.0, event["done"] / event["total"])
            fetching = end * _FETCHING if UNIT in stages else 0.0
            feedback.setProgress(share * fetching if unit == UNIT else fetching + share * (end - fetching))
            # A line a tenth: the dialog keeps all of them.
            if share * 100 >= told[0] + _TENTH:
                told[0] = int(share * 100 // _TENTH) * _TENTH
                feedback.pushInfo(f"{told[0]} %: {progress_text(event)}")

    return on_event


def log_to(feedback: QgsProcessingFeedback) -> Callable[[str], None]:
    """Return a function that writes an engine's standard error to a feedback."""
    return lambda line: feedback.pushDebugInfo(line) if line.strip() else None


def number(document: dict[str, Any], name: str) -> float | None:
    """Return a figure of an answer; None where there is none."""
    value = document.get(name)
    return None if value is None else float(value)


def shown_file(path: str) -> str:
    """Return a path for a line of the log."""
    return tr("Written: {path}").format(path=path)
