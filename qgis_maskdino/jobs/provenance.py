"""Keep with a layer how it came to be: model, raster, area, settings and time, where QGIS shows a layer's metadata."""

from __future__ import annotations

from datetime import datetime, timezone

from qgis.core import QgsLayerMetadata

from qgis_maskdino.jobs.detection import DetectionResult
from qgis_maskdino.jobs.raster_run import RasterRequest
from qgis_maskdino.translation import tr

_NO_SETTINGS = ("raster", "output", "model", "aoi", "extent")


def provenance(request: RasterRequest, result: DetectionResult) -> QgsLayerMetadata:
    """Return the metadata of a layer of detections; its history has one line per fact."""
    source = request.source
    # The address of a layer from the web or a database may hold a password.
    raster = f"{source.name} ({source.path})" if source.path else source.name
    settings = ", ".join(f"{name}={value}" for name, value in request.arguments("").items() if name not in _NO_SETTINGS)
    lines = [
        tr("Detected with Mask DINO {version} on {time}").format(
            version=result.version, time=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        ),
        tr("Model: {}").format(request.options["model"]),
        tr("Raster: {}").format(raster),
        tr("Area: {}").format(_area(request)),
        tr("Settings: {}").format(settings),
        tr("Device: {}").format(result.device),
    ]
    if result.cancelled:
        lines.append(tr("Cancelled before the end: this is a part."))
    metadata = QgsLayerMetadata()
    metadata.setType("dataset")
    metadata.setTitle(tr("Buildings of {}").format(source.name))
    metadata.setAbstract(tr("Found by a model, one polygon per object, with a score from 0 to 1 of how sure the model is."))
    metadata.setCrs(source.crs)
    metadata.setHistory(lines)
    return metadata


def _area(request: RasterRequest) -> str:
    if request.area is None:
        return tr("whole layer")
    box, crs = request.area.bounds, request.source.crs.authid()
    rectangle = f"{box.xMinimum():.8g}, {box.yMinimum():.8g}, {box.xMaximum():.8g}, {box.yMaximum():.8g} {crs}".rstrip()
    return rectangle if request.area.file is None else tr("inside polygons in {}").format(rectangle)
