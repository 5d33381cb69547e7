"""Let a model see a raster layer: its file, or an export of it where the engine cannot open that."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.process import EngineProcess
from qgis_maskdino.layers.detection_area import DetectionArea
from qgis_maskdino.layers.raster_export import ExportCancelled, export_raster
from qgis_maskdino.layers.source import LayerSource
from qgis_maskdino.translation import tr

SMALLEST_OVERLAP = 64  # pixels; the engine looks a tile's overlap beyond the area, see TileSettings.tile_overlap there


@dataclass(frozen=True)
class RasterRequest:
    """What a model is to see of a raster layer, and how.

    Attributes:
        source: the raster layer.
        output: the file to write; it is replaced when that is done.
        options: the model, and other options of the engine's command, by name; what is not there is left to the engine.
        area: None for all of the layer.
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


class RasterRun:
    """A command that sees a raster, on its way with an engine that runs.

    Args:
        command: of the engine.
        request: what, where and how.
        engine: the one that does it.
        folder: for an export.
        on_event: takes ``progress`` events (``done``, ``total``, ``unit``: first ``tiles fetched`` where a layer has to be
            exported, then ``tiles``) and ``log`` events (``level``, ``message``).
        is_cancelled: asked several times a second.
    """

    def __init__(
        self,
        command: str,
        request: RasterRequest,
        engine: EngineProcess,
        folder: str,
        on_event: Callable[[dict[str, Any]], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self.command, self.request, self.engine, self.folder = command, request, engine, folder
        self.on_event, self.is_cancelled = on_event, is_cancelled
        self.has_begun = False

    def run(self) -> dict[str, Any]:
        """Let the engine see the layer's file, or an export where there is none or the engine cannot open it.

        Returns:
            Its answer; of a cancelled run perhaps nothing but that.

        Raises:
            EngineError: it failed; the message is for a person.
        """
        try:
            return self._run()
        except ExportCancelled:
            return {"cancelled": True}

    def _run(self) -> dict[str, Any]:
        path = self.request.source.path
        if path is not None:
            try:
                # A downloaded text file may claim to be a raster and name any file of this computer, and any address.
                return self._run_on(path, local_only=self.request.source.downloaded)
            except EngineError as error:
                if error.code == "not_local":
                    raise self._about_a_download(error) from error
                # QGIS's GDAL may have drivers that the engine's has not; QGIS shows the layer, so it can hand it over.
                if error.code != "raster" or self.has_begun:
                    raise
                message = tr("The engine cannot open the file of '{name}' ({error}); QGIS reads it for the engine.")
                self._log(message.format(name=self.request.source.name, error=error.message.rstrip(".")))
        return self._run_on_export()

    def _run_on(self, raster: str, *, local_only: bool = False) -> dict[str, Any]:
        arguments = self.request.arguments(raster, local_only=local_only)
        return self.engine.run(self.command, arguments, on_event=self._on_event, is_cancelled=self.is_cancelled)

    def _run_on_export(self) -> dict[str, Any]:
        """Export the layer as fine as the model wants to see it, and go on with that."""
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
        return self._run_on(exported)

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
