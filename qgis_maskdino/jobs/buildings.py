"""A detection of the panel: the algorithm's work, and what becomes of its layer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from qgis.core import QgsProject, QgsVectorLayer

from qgis_maskdino import settings
from qgis_maskdino.backend.warm_engine import warm_engine
from qgis_maskdino.jobs.algorithm import AlgorithmJob
from qgis_maskdino.jobs.progress_text import duration
from qgis_maskdino.jobs.queue import JobError, JobState
from qgis_maskdino.layers.appending import appends
from qgis_maskdino.layers.detections import mark_as_detections
from qgis_maskdino.layers.output_file import free_file, layers_using
from qgis_maskdino.layers.results import layer_name, open_result, project_layer
from qgis_maskdino.layers.style import CLASS_FIELD, DETECTIONS
from qgis_maskdino.translation import tr


class BuildingsJob(AlgorithmJob):
    """Runs ``maskdino:detectbuildings`` and adds the layer to the project; after a cancel, with what was found until then.

    Args:
        layer_name: of the raster.
        area: where in it, in a word or two.
        layer_id: of the raster, which may be gone when the detection ends.
        parameters: of the algorithm.

    Attributes:
        layer: the buildings.
    """

    def __init__(self, *, layer_name: str, layer_id: str, area: str, parameters: dict[str, Any]) -> None:
        # With the time, jobs that wait and layers that came can be told apart.
        parts = [tr("Buildings of {}").format(layer_name), area, datetime.now().strftime("%H:%M:%S")]
        super().__init__("maskdino:detectbuildings", parameters, title=" · ".join(parts))
        self.layer: QgsVectorLayer | None = None
        self._appended = False
        self._raster = layer_id
        self._asked_device = str(parameters.get("DEVICE", "auto"))
        self._speed: float | None = None
        self._start: float | None = None

    def prepare(self) -> None:
        """Get ready; a file that came into being or into use while the job waited is left alone, for nobody was asked of it."""
        output = self.parameters["OUTPUT"]
        if appends(output):
            super().prepare()
            return
        agreed = self.parameters.get("OVERWRITE") and not layers_using(output, QgsProject.instance())
        if os.path.exists(output) and not agreed:
            self.parameters["OUTPUT"] = free_file(output)
            text = tr("{path} was written while the job waited. The buildings are in {other}.")
            self.warnings.append(text.format(path=output, other=self.parameters["OUTPUT"]))
        super().prepare()

    def work(self, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        began, engine = time.monotonic(), warm_engine()
        is_cold = engine is None or not engine.is_there

        def listen(event: dict[str, Any]) -> None:
            if is_cold and self._start is None and event.get("event") == "progress":
                self._start = time.monotonic() - began
            self._speed = event.get("megapixels_per_second") or self._speed
            on_event(event)

        return super().work(listen, is_cancelled)

    def finish(self) -> None:
        super().finish()
        source = str(self.results.get("OUTPUT") or "")
        if not source:
            return  # cancelled before there was anything
        self._appended = appends(self.parameters["OUTPUT"]) and not self.is_cancelled()
        self.layer = project_layer(source) if self._appended else None
        if self.layer is not None:
            self.layer.reload()
        else:
            self._show_new(source)
        mark_as_detections(self.layer)
        if self._speed is not None:
            settings.remember_speed(self._asked_device, self._speed)
        if self._start is not None:
            settings.remember_start(self._start)

    def _show_new(self, source: str) -> None:
        if self._appended:  # which has a name and a style
            self.layer = open_result(source, name=layer_name(source))
        else:
            name = self.title if not self.is_cancelled() else f"{self.title} · {tr('partial')}"
            self.layer = open_result(source, name=name, style=DETECTIONS)
        if self.layer is None:
            raise JobError(tr("The buildings are in {}, which QGIS cannot open.").format(source), details=self.details())
        self.show_layer(self.layer, beside=self._raster)

    def kept(self) -> str:
        return tr("What was found so far is kept.")

    def summary(self) -> str:
        if "COUNT" not in self.results:
            return ""
        number = int(self.results["COUNT"])
        if self.layer is not None and self.layer.fields().indexOf(CLASS_FIELD) >= 0:
            count = tr("1 object") if number == 1 else tr("{} objects").format(f"{number:,}")
        else:
            count = tr("1 building") if number == 1 else tr("{} buildings").format(f"{number:,}")
        if self.state is JobState.CANCELLED:
            count = tr("Cancelled: {} so far").format(count)
        elif number == 0:
            count = tr("No building found. A lower minimum score finds more")
        parts = [count if not self._appended else tr("{} appended to {}").format(count, self.layer.name())]
        if self.results.get("AREA"):
            parts.append(_ground(float(self.results["AREA"])))
        if self.results.get("SECONDS"):
            parts.append(duration(float(self.results["SECONDS"])))
        return " · ".join(parts)


def _ground(square_metres: float) -> str:
    if square_metres < 1e4:
        return f"{square_metres:,.0f} m²"
    return f"{square_metres / 1e4:,.1f} ha" if square_metres < 1e6 else f"{square_metres / 1e6:,.1f} km²"
