"""Keep one engine between the jobs of a thread: it takes seconds to start, and the model that it used last stays loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qgis_maskdino.backend.process import EngineProcess
from qgis_maskdino.backend.variables import engine_variables

_of_thread = threading.local()


class WarmEngine:
    """The engine of a thread, started when it is first asked for. To be used in that thread alone, but for ``is_there``."""

    def __init__(self) -> None:
        self._engine: EngineProcess | None = None
        self._started_as: tuple | None = None

    @property
    def is_there(self) -> bool:
        """Whether an engine has been started and not been closed; any thread may ask."""
        return self._engine is not None

    @contextmanager
    def lend(
        self, python: str, *, sources: str | None = None, on_log: Callable[[str], None] | None = None
    ) -> Iterator[EngineProcess]:
        """Lend the engine for a job; one that died, is at something else, or was started otherwise is replaced.

        The arguments are those of ``EngineProcess``.

        Raises:
            EngineError: it could not be started.
        """
        start_as = (python, sources, _time_of(sources), engine_variables(sources).toStringList())
        if self._engine is not None and not (start_as == self._started_as and self._engine.is_idle()):
            self.close()
        if self._engine is None:
            self._engine = EngineProcess(python, sources=sources)
            self._started_as = start_as
        self._engine.listen(on_log)
        try:
            yield self._engine
        finally:
            if self._engine is not None and not self._engine.is_idle():  # whoever had it went away in the middle
                self.close()

    def close(self) -> None:
        """End the engine, if there is one."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


@contextmanager
def engine_kept_warm() -> Iterator[WarmEngine]:
    """Let all that this thread asks of engines go to one, which ends with the block."""
    _of_thread.engine = engine = WarmEngine()
    try:
        yield engine
    finally:
        del _of_thread.engine
        engine.close()


def warm_engine() -> WarmEngine | None:
    """Return the engine that this thread keeps; None where it keeps none."""
    return getattr(_of_thread, "engine", None)


def _time_of(sources: str | None) -> int:
    """Return when an engine's code was written: an update of the plugin, or a developer, may have replaced it."""
    service = os.path.join(sources or "", "engine", "service.py")
    return os.stat(service).st_mtime_ns if os.path.isfile(service) else 0
