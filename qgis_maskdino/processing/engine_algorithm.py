"""What all our algorithms share: they need an engine, run in background threads, and speak to people through a feedback."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)
from qgis.PyQt.QtGui import QIcon

from qgis_maskdino import options, settings
from qgis_maskdino.backend.environment import EngineEnvironment, State
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.icons import icon_path
from qgis_maskdino.jobs.progress_text import progress_text
from qgis_maskdino.layers.raster_export import UNIT
from qgis_maskdino.layers.source import LayerSource
from qgis_maskdino.options import Option
from qgis_maskdino.translation import tr

_TENTH = 10  # per cent between two lines in the log
_FETCHING = 0.3  # of the whole, where a layer has to be fetched


class EngineAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that the engine does the work of.

    Attributes:
        ICON: name of the icon, see ``icons``.
    """

    ICON = "detect"

    def __init__(self) -> None:
        super().__init__()
        self._options: list[str] = []  # parameters that are options of the engine's command

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

    def add_option(
        self,
        name: str,
        label: str,
        option: Option,
        *,
        advanced: bool = False,
        decimals: int | None = None,
        bands_of: str | None = None,
    ) -> None:
        """Add a parameter for an option of the engine's command, which has its name in small letters.

        Args:
            bands_of: the raster layer whose bands the option lists.
        """
        self._options.append(name)
        parameter = _parameter(name, label, option) if bands_of is None else _bands(name, label, bands_of)
        self.add(parameter, option.help, advanced=advanced, decimals=decimals)

    def options_given(self, parameters: dict[str, Any], context: QgsProcessingContext) -> dict[str, Any]:
        """Return what the parameters of ``add_option`` say, by the options' names; what is left to the engine is not in it."""
        given = {name.lower(): self._value(parameters, name, context) for name in self._options}
        return {option: value for option, value in given.items() if value not in (None, "", [])}

    def _value(self, parameters: dict[str, Any], name: str, context: QgsProcessingContext) -> Any:
        definition = self.parameterDefinition(name)
        if parameters.get(name) in (None, "") and definition.defaultValue() is None:
            return None
        if isinstance(definition, QgsProcessingParameterBand):
            return self.parameterAsInts(parameters, name, context)
        if isinstance(definition, QgsProcessingParameterBoolean):
            return self.parameterAsBool(parameters, name, context)
        if isinstance(definition, QgsProcessingParameterNumber):
            whole = definition.dataType() == QgsProcessingParameterNumber.Type.Integer
            return (self.parameterAsInt if whole else self.parameterAsDouble)(parameters, name, context)
        return self.parameterAsString(parameters, name, context).strip()

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
        except EngineError as error:
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


def device_option() -> Option:
    """Return the option of the device, by default that of the plugin's settings."""
    option = options.detect()["device"]
    devices = tuple(dict.fromkeys([*option.choices, settings.device()]))
    return option._replace(kind="choice", choices=devices, default=settings.device())


def _parameter(name: str, label: str, option: Option) -> QgsProcessingParameterDefinition:
    if option.kind == "flag":
        return QgsProcessingParameterBoolean(name, label, defaultValue=option.default)
    may_be_left_out = option.default is None
    if option.kind == "choice":
        return QgsProcessingParameterEnum(
            name, label, list(option.choices), defaultValue=option.default, optional=may_be_left_out, usesStaticStrings=True
        )
    if option.kind in ("number", "whole number"):
        kind = QgsProcessingParameterNumber.Type
        parameter = QgsProcessingParameterNumber(
            name,
            label,
            kind.Double if option.kind == "number" else kind.Integer,
            defaultValue=option.default,
            optional=may_be_left_out,
        )
        if option.minimum is not None:
            parameter.setMinimum(option.minimum)
        if option.maximum is not None:
            parameter.setMaximum(option.maximum)
        return parameter
    return QgsProcessingParameterString(name, label, defaultValue=option.default, optional=may_be_left_out)


def _bands(name: str, label: str, raster: str) -> QgsProcessingParameterBand:
    return QgsProcessingParameterBand(name, label, parentLayerParameterName=raster, optional=True, allowMultiple=True)


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
