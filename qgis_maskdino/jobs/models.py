"""Models that come into the user's folder as jobs of the panel: one that is a model file already, and one to be converted."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.model_choice import new_model_file
from qgis_maskdino.jobs.algorithm import AlgorithmJob
from qgis_maskdino.jobs.queue import Job, JobError, JobState
from qgis_maskdino.translation import tr

_PART = 1 << 22  # bytes between two looks at whether it was cancelled
_MEGABYTE = 1e6


class ImportJob(Job):
    """Lets the engine check a model file, and copies it into the user's folder: whole or not at all.

    Args:
        source: the file.
        name: that the model gets.
    """

    def __init__(self, environment: EngineEnvironment, source: str, name: str) -> None:
        super().__init__(tr("Import of {}").format(name))
        self.name = name
        self._environment = environment
        self._source = source

    def work(self, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        try:
            with self._environment.engine() as engine:
                answer = engine.run("models", {"model": self._source}, on_event=on_event, is_cancelled=is_cancelled)
        except EngineError as error:
            raise JobError(error.message, hint=error.hint, details=error.details) from error
        if answer.get("cancelled"):
            return {}
        target = new_model_file(self.name)
        try:
            copied = _copy(self._source, target, on_event, is_cancelled)
        except OSError as error:
            raise JobError(tr("The model could not be copied to {}: {}.").format(target, error)) from error
        return {"OUTPUT": target} if copied else {}

    def summary(self) -> str:
        return tr("The model {} is there to be chosen.").format(self.name) if self.state is JobState.DONE else ""


class ConversionJob(AlgorithmJob):
    """Runs ``maskdino:convertmodel`` into the user's folder.

    Args:
        name: that the model gets.
        parameters: of the algorithm, its output aside.
    """

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        output = {"OUTPUT": new_model_file(name)}
        super().__init__("maskdino:convertmodel", {**parameters, **output}, title=tr("Conversion to {}").format(name))
        self.name = name

    def summary(self) -> str:
        taken_for = self.results.get("TAKEN_FOR")
        return tr("Taken for: {}").format(taken_for) if taken_for and self.state is JobState.DONE else ""


def _copy(source: str, target: str, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> bool:
    """Copy a file under another name first, so that nobody sees half of it; return False where that was cancelled."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = f"{target}.part"
    total = os.path.getsize(source)
    try:
        with open(source, "rb") as reader, open(part, "wb") as writer:
            while data := reader.read(_PART):
                if is_cancelled():
                    return False
                writer.write(data)
                done = round(writer.tell() / _MEGABYTE)
                on_event({"event": "progress", "done": done, "total": round(total / _MEGABYTE) or 1, "unit": "MB"})
        if os.path.exists(target):
            raise FileExistsError(tr("the file is there already"))
        os.rename(part, target)
    finally:
        with suppress(OSError):
            os.remove(part)
    return True
