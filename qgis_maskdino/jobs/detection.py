"""Run a detection, from a raster layer to a layer of buildings: the one way that the toolbox and the panel share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.process import EngineProcess
from qgis_maskdino.backend.work_folder import work_folder
from qgis_maskdino.layers.detection_area import DetectionArea
from qgis_maskdino.layers.raster_export import ExportCancelled, export_raster
from qgis_maskdino.layers.source import LayerSource
from qgis_maskdino.translation import tr

SMALLEST_OVERLAP = 64  # pixels; the engine looks a tile's overlap beyond the area, see Settings.tile_overlap there


@dataclass(frozen=True)
class DetectionRequest:
    """What to detect, where and how.

    Attributes:
        source: the raster layer.
        output: a .gpkg; it is replaced when the detection is done.
        options: the model, and other options of ``maskdino detect``, by name; what is not there is left to the engine.
        area: None detects in all of the layer.
    """

    source: LayerSource
    output: str
    options: dict[str, Any]
    area: DetectionArea | None = None

    def arguments(self, raster: str, *, local_only: bool = False) -> dict[str, Any]:
        """Return the arguments of the engine's command.

        Args:
            raster: what the engine opens.
            local_only: refuse one that reads from the network or from outside its own folder.
        """
        arguments = {**self.options, "raster": raster, "output": self.output}
        if local_only:
            arguments["local_only"] = True
        if self.area is not None and self.area.file is not None:
            arguments["aoi"] = self.area.file
        elif self.area is not None:
            box = self.area.bounds
            arguments["extent"] = [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]
        return arguments


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
    """

    path: str | None
    layer: str
    count: int
    area: float | None
    seconds: float
    megapixels: float
    device: str
    cancelled: bool


def detect(
    request: DetectionRequest,
    *,
    on_event: Callable[[dict[str, Any]], None],
    is_cancelled: Callable[[], bool],
    on_log: Callable[[str], None] | None = None,
    environment: EngineEnvironment | None = None,
) -> DetectionResult:
    """Detect. To be called in any thread; the layer is not touched.

    Args:
        request: what, where and how.
        on_event: takes ``progress`` events (``done``, ``total``, ``unit``: first ``tiles fetched`` where a layer has to be
            exported, then ``tiles``) and ``log`` events (``level``, ``message``).
        is_cancelled: asked several times a second.
        on_log: takes what the engine writes to standard error.
        environment: of the engine.

    Raises:
        EngineError: it failed; the message is for a person.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        engine = stack.enter_context((environment or EngineEnvironment()).engine(on_log=on_log))
        try:
            answer = _Detection(request, engine, folder, on_event, is_cancelled).run()
        except ExportCancelled:
            answer = {"cancelled": True}
    return DetectionResult(
        path=answer.get("output"),
        layer=str(answer.get("layer") or "buildings"),
        count=int(answer.get("buildings") or 0),
        area=answer.get("area_m2"),
        seconds=time.monotonic() - started,
        megapixels=float(answer.get("megapixels") or 0),
        device=str(answer.get("device") or ""),
        cancelled=bool(answer.get("cancelled")),
    )


class _Detection:
    """A detection with an engine that runs."""

    def __init__(
        self,
        request: DetectionRequest,
        engine: EngineProcess,
        folder: str,
        on_event: Callable[[dict[str, Any]], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self.request, self.engine, self.folder = request, engine, folder
        self.on_event, self.is_cancelled = on_event, is_cancelled
        self.has_begun = False

    def run(self) -> dict[str, Any]:
        """Detect in the layer's file, or in an export where there is none or the engine cannot open it."""
        path = self.request.source.path
        if path is not None:
            try:
                # A downloaded text file may claim to be a raster and name any file of this computer, and any address.
                return self.detect_in(path, local_only=self.request.source.downloaded)
            except EngineError as error:
                if error.code == "not_local":
                    raise self._about_a_download(error) from error
                # QGIS's GDAL may have drivers that the engine's has not; QGIS shows the layer, so it can hand it over.
                if error.code != "raster" or self.has_begun:
                    raise
                message = tr("The engine cannot open the file of '{name}' ({error}); QGIS reads it for the engine.")
                self._log(message.format(name=self.request.source.name, error=error.message.rstrip(".")))
        return self.detect_in_export()

    def detect_in(self, raster: str, *, local_only: bool = False) -> dict[str, Any]:
        """Let the engine detect in a dataset."""
        arguments = self.request.arguments(raster, local_only=local_only)
        return self.engine.run("detect", arguments, on_event=self._on_event, is_cancelled=self.is_cancelled)

    def detect_in_export(self) -> dict[str, Any]:
        """Export the layer as fine as the model wants to see it, and detect in that."""
        request = self.request
        model = self.engine.run("models", {"model": request.options["model"]}, is_cancelled=self.is_cancelled)
        if model.get("cancelled"):
            return model
        tile = int(model["tile_size"])
        exported = os.path.join(self.folder, "layer.tif")
        export_raster(
            request.source,
            exported,
            area=None if request.area is None else request.area.bounds,
            gsd=request.options.get("gsd", model["gsd"]),
            # Around the area the engine looks as far as two tiles share, and never at less than a tile.
            margin=max(SMALLEST_OVERLAP, tile // 2),
            on_event=self.on_event,
            is_cancelled=self.is_cancelled,
        )
        return self.detect_in(exported)

    def _about_a_download(self, error: EngineError) -> EngineError:
        message = tr("'{name}' lies among your downloads and reads from the network or from other folders: {error}")
        return EngineError(
            message.format(name=self.request.source.name, error=error.message.split(";")[0].rstrip(".") + "."),
            code=error.code,
            hint=tr("If you trust it, move it to another folder."),
        )

    def _on_event(self, event: dict[str, Any]) -> None:
        self.has_begun = self.has_begun or event.get("event") == "progress"
        self.on_event(event)

    def _log(self, message: str) -> None:
        self.on_event({"event": "log", "level": "warning", "message": message})
