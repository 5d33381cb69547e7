"""The engine's installation as a job of the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import Qgis, QgsMessageLog

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.warm_engine import warm_engine
from qgis_maskdino.jobs.algorithm import LOG_TAG
from qgis_maskdino.jobs.queue import Job, JobError, JobState
from qgis_maskdino.translation import tr

_THOUSAND = 1000  # a share of the work, in whole numbers


class InstallationJob(Job):
    """Creates the private environment, or repairs it.

    Args:
        environment: the one to make.
        repair: whether one is there that is broken or of another version.
    """

    def __init__(self, environment: EngineEnvironment, *, repair: bool = False) -> None:
        super().__init__(tr("Repair the Mask DINO engine") if repair else tr("Install the Mask DINO engine"))
        self._environment = environment
        self._repair = repair

    def work(self, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        def log(line: str) -> None:
            QgsMessageLog.logMessage(line, LOG_TAG, Qgis.MessageLevel.Info, False)
            on_event({"event": "log", "level": "info", "message": line})

        def progress(share: float, step: str) -> None:
            on_event({"event": "progress", "done": round(share * _THOUSAND), "total": _THOUSAND, "unit": "", "note": step})

        if warm_engine() is not None:
            warm_engine().close()  # it runs in the files that are about to be replaced
        make = self._environment.repair if self._repair else self._environment.create
        try:
            done = make(on_log=log, on_progress=progress, is_cancelled=is_cancelled)
        except EngineError as error:
            raise JobError(error.message, hint=error.hint, details=error.details) from error
        return {"installed": done}

    def summary(self) -> str:
        return tr("The engine is ready.") if self.state is JobState.DONE else tr("Nothing was installed.")
