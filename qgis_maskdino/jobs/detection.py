"""Run a detection, from a raster layer to a layer of buildings: the one way that the toolbox and the panel share."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.jobs.raster_run import RasterRequest, RasterRun


@dataclass(frozen=True)
class DetectionResult:
    """What a detection brought.

    Attributes:
        path: the file with the buildings; None where it was cancelled before there was anything to write.
        count: buildings, or objects of other classes.
        layer: the layer in the file: ``buildings``, or ``instances`` of a model that finds something else.
        area: their ground in square metres; None where nothing says how large a pixel is.
        seconds: from start to end.
        megapixels: that the model saw.
        device: on which; empty where it did not come so far.
        cancelled: whether it was cut short; what was found until then is in the file.
        version: of the engine.
    """

    path: str | None
    layer: str
    count: int
    area: float | None
    seconds: float
    megapixels: float
    device: str
    cancelled: bool
    version: str


def detect(
    request: RasterRequest,
    *,
    on_event: Callable[[dict[str, Any]], None],
    is_cancelled: Callable[[], bool],
    on_log: Callable[[str], None] | None = None,
    environment: EngineEnvironment | None = None,
) -> DetectionResult:
    """Detect. To be called in any thread; the layer is not touched.

    Args:
        request: what, where and how; the output is a .gpkg.
        on_event, is_cancelled: as of ``RasterRun``.
        on_log: takes what the engine writes to standard error.
        environment: of the engine.

    Raises:
        EngineError: it failed; the message is for a person.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        engine = stack.enter_context((environment or EngineEnvironment()).engine(on_log=on_log))
        answer = RasterRun("detect", request, engine, folder, on_event, is_cancelled).run()
    return DetectionResult(
        path=answer.get("output"),
        layer=str(answer.get("layer") or "buildings"),
        count=int(answer.get("buildings") or 0),
        area=answer.get("area_m2"),
        seconds=time.monotonic() - started,
        megapixels=float(answer.get("megapixels") or 0),
        device=str(answer.get("device") or ""),
        cancelled=bool(answer.get("cancelled")),
        version=engine.version,
    )
