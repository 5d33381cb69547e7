"""Find the buildings of a raster of any size: the one function behind the command, the service and Python."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from engine.detection.checkpoint import Checkpoint
from engine.detection.classes import finds_buildings_alone, layer_name, wanted_classes
from engine.detection.fingerprint import fingerprint_of
from engine.detection.footprints import LEAST_AREA, FootprintMaker
from engine.detection.instances import Predictor, as_predictor
from engine.detection.layer_writer import LayerWriter, reserve_layer
from engine.detection.request import DetectRequest
from engine.detection.run import DetectionRun
from engine.detection.settings import Settings
from engine.detection.stages import Stages
from engine.device import single_threaded
from engine.distribution import version
from engine.errors import ArgumentError, CancelledError
from engine.files.output_file import OutputFile, refuse_inputs
from engine.job import Progress
from engine.model.families.registry import family_of
from engine.model.model_file import ModelFile, open_model_file
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from engine.vector.area_of_interest import AreaOfInterest

T = TypeVar("T")

if TYPE_CHECKING:
    from engine.model.instance_model import InstanceModel


@dataclass(frozen=True)
class Summary:
    """What a detection did.

    Attributes:
        output: where the layer is.
        layer: its name there.
        buildings: polygons written, whatever their class.
        by_class: how many of them are of each class that was looked for, by its name.
        area_m2: their true ground area together; NaN where nothing says how large a pixel is.
        tiles: tiles of the grid.
        tiles_seen: tiles that the model saw in this run; the others hold no data, lie outside the area, or were resumed.
        megapixels: ground covered by the tiles done in this run, in pixels that the model sees.
        gsd: metres per pixel that the model saw; None where unknown.
        seconds: time in which work of each kind went on, side by side with the others; ``total`` is the wall time, loading
            included.
        device: where the model ran.
        kernel: which kernel ran its attention operator; None for a predictor that was given.
        cancelled: whether the run was cut short; the output then holds what was found until that moment.
    """

    output: str
    layer: str
    buildings: int
    by_class: dict[str, int]
    area_m2: float
    tiles: int
    tiles_seen: int
    megapixels: float
    gsd: float | None
    seconds: dict[str, float]
    device: str
    kernel: str | None
    cancelled: bool


def detect(
    raster: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | InstanceModel = "maskdino_lite",
    predictor: Predictor | None = None,
    device: str = "auto",
    aoi: str | os.PathLike[str] | None = None,
    extent: Sequence[float] | None = None,
    bands: Sequence[int] | str | None = None,
    gsd: float | None = None,
    score: float = 0.5,
    classes: Sequence[str] | str | None = None,
    min_area: float | None = None,
    outline: Literal["regular", "simplified", "raw"] = "regular",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    deterministic: bool = False,
    compile: bool = False,
    on_damage: Literal["fail", "skip"] = "fail",
    local_only: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    overlap: int | None = None,
    layer: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | Callable[[], bool] | None = None,
) -> Summary:
    """Find the buildings of a raster, or the objects of a model's classes, and write one polygon per object.

    The options are those of ``maskdino detect``, whose ``--help`` describes them; they are declared in
    ``engine.detection.request.DetectRequest``. What is different in Python:

    Args:
        output: a file of that name is replaced when the run is done. A GeoPackage that holds other layers is refused, unless
            ``layer`` or ``overwrite`` says what is to become of them.
        model: also a loaded model. Not used where a predictor is given.
        predictor: what finds the instances in a tile, in place of a model.
        progress: called in this thread a few times a second.
        cancel: an event, or a function that says whether to stop. The output then holds what was found so far.

    Returns:
        What was done; ``cancelled`` says whether it was cut short.

    Raises:
        MaskDinoError: one of ``engine.errors``; under the output's name is nothing but what was there before.
        CancelledError: cancelled before there was anything to write.
    """
    given = locals()
    options = {name: given[name] for name in DetectRequest.model_fields}
    loaded = None if isinstance(model, (str, os.PathLike)) else options.pop("model")
    request = DetectRequest.checked(**options)
    return run_detection(request, model=loaded, predictor=predictor, progress=progress, cancel=cancel)


def run_detection(
    request: DetectRequest,
    *,
    model: InstanceModel | None = None,
    predictor: Predictor | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | Callable[[], bool] | None = None,
) -> Summary:
    """Do what ``detect`` does, of a request.

    Args:
        model: a loaded model, in place of the one that the request names.
    """
    started = time.perf_counter()
    settings, output = request.settings(), request.output
    refuse_inputs({"output": output}, [request.raster, settings.aoi, None if model is not None else request.model])
    given = None if predictor is None else as_predictor(predictor)
    described = _described(request.model if model is None else model) if given is None else None
    names = tuple(described.header.classes if given is None else given.classes)
    own = layer_name(names)
    wanted_classes(names, settings.classes)  # an unknown name is refused before anything is opened
    stages = Stages()
    wants_cancel = cancel.is_set if isinstance(cancel, threading.Event) else cancel or (lambda: False)

    def open_all() -> tuple[Predictor, RasterSource, AreaOfInterest | None]:
        # What fails most often and costs least comes first: the raster is opened by what the model's header says.
        if given is None:
            header = described.header
            # Where there is no data, the model sees what it sees beyond the edge of an image: its mean, which it makes zero.
            wanted = {"band_count": len(header.bands), "gsd": header.gsd, "fill": header.config.pixel_mean}
        else:
            wanted = {"band_count": given.bands, "gsd": given.gsd}
        source, area = _open(request.raster, settings, wanted)
        try:
            refuse_inputs({"output": output}, source.files)
            return given or model_predictor(described, device=request.device, settings=settings), source, area
        except BaseException:
            source.close()
            raise

    with ExitStack() as meanwhile:
        if settings.deterministic:
            meanwhile.enter_context(single_threaded())
        file = meanwhile.enter_context(reserve_layer(output, layer=request.layer, overwrite=request.overwrite, own=own))
        with stages.timed("loading"):
            opened = _interruptible(open_all, wants_cancel)
        run = _set_up(request, file, *opened, settings, classes=names, stages=stages)
        run.run(progress=progress, wants_cancel=wants_cancel)
    return Summary(
        output=output,
        layer=request.layer or own,
        buildings=run.buildings,
        by_class=run.by_class,
        area_m2=run.area_m2,
        tiles=len(run.grid),
        tiles_seen=run.tiles_seen,
        megapixels=run.megapixels,
        gsd=run.source.gsd,
        seconds={**stages.seconds, "total": time.perf_counter() - started},
        device=str(run.predictor.device),
        kernel=_kernel_on(run.predictor.device) if predictor is None else None,
        cancelled=run.cancelled.is_set(),
    )


def model_predictor(
    model: str | os.PathLike[str] | ModelFile | InstanceModel, *, device: str = "auto", settings: Settings | None = None
) -> Predictor:
    """Make a predictor of a model, by those of the settings that are its business.

    Args:
        model: the name of an embedded model, a model file by its path or opened, or a loaded model.

    Raises:
        ModelFileError: the model cannot be loaded.
        DeviceError: the device is not there, or the model cannot be compiled for it.
    """
    from engine.detection.predictor import ModelPredictor
    from engine.device import choose_device

    chosen = choose_device(device)
    described = _described(model)
    header = described.header
    loaded = described.load(device=chosen) if isinstance(described, ModelFile) else described.to(chosen)
    settings = settings or Settings()
    return ModelPredictor(
        loaded,
        tile_size=header.tile_size,
        gsd=header.gsd,
        score=settings.score,
        precision="float32" if settings.deterministic else settings.precision,
        batch_size=1 if settings.deterministic else settings.batch_size,
        compile=settings.compile,
    )


def _described(model: str | os.PathLike[str] | ModelFile | InstanceModel) -> ModelFile | InstanceModel:
    """Open a model's file, if it is not yet open, and check that the model can be used on a raster."""
    described = open_model_file(model) if isinstance(model, (str, os.PathLike)) else model
    header = described.header
    if header is None:
        raise ArgumentError(
            "The model says neither its tile size nor its ground sampling distance.",
            hint="Load it from a model file, or give a predictor.",
        )
    if "instances" not in family_of(header.config).tasks(header.config):
        raise ArgumentError(
            f"The model {header.name!r} gives each pixel a class and finds no instances.",
            hint="Take a model for instance or panoptic segmentation.",
        )
    return described


def _open(raster: str, settings: Settings, wanted: dict[str, Any]) -> tuple[RasterSource, AreaOfInterest | None]:
    """Open the raster as the model wants it, unless the settings want something else, and the area."""
    if settings.gsd is not None:
        wanted = {**wanted, "gsd": settings.gsd}
    chosen = {"bands": settings.bands, "on_damage": settings.on_damage, "local_only": settings.local_only}
    source = RasterSource.open(raster, **chosen, **wanted)
    try:
        if settings.aoi is not None:
            return source, AreaOfInterest.from_vector(settings.aoi, source)
        if settings.extent is not None:
            return source, AreaOfInterest.from_extent(settings.extent, source)
        return source, None
    except BaseException:
        source.close()
        raise


def _set_up(
    request: DetectRequest,
    output: OutputFile,
    predictor: Predictor,
    source: RasterSource,
    area: AreaOfInterest | None,
    settings: Settings,
    *,
    classes: Sequence[str],
    stages: Stages,
) -> DetectionRun:
    """Cut the tiles, and begin the two files: the output and the checkpoint."""
    with ExitStack() as undo:
        undo.callback(source.close)
        overlap = settings.tile_overlap(predictor.tile_size)
        # Around the area as much is looked at as two tiles share, so that a building on its border is seen whole.
        left, top, right, bottom = (
            area.window(overlap, smallest=predictor.tile_size) if area else (0, 0, source.width, source.height)
        )
        grid = TileGrid(
            right - left,
            bottom - top,
            tile_size=predictor.tile_size,
            overlap=overlap,
            origin=(left, top),
            transform=source.transform,
        )
        fingerprint = fingerprint_of(request.raster, source=source, grid=grid, predictor=predictor, settings=settings)
        progress = output.target.with_name(f"{output.target.name}.progress")
        checkpoint = Checkpoint(progress, fingerprint=fingerprint, resume=request.resume)
        undo.callback(lambda: checkpoint.close(keep=len(checkpoint) > 0))
        metadata = _metadata(source, fingerprint["model"], settings)
        writer = LayerWriter(output, crs=source.crs, classes=classes, metadata=metadata, layer=request.layer)
        undo.callback(writer.abort)
        run = DetectionRun(
            raster=request.raster,
            source=source,
            area=area,
            grid=grid,
            predictor=predictor,
            settings=settings,
            classes=classes,
            maker=FootprintMaker(
                source=source,
                area=area,
                grid=grid,
                settings=settings,
                least_area=LEAST_AREA if finds_buildings_alone(classes) else 0.0,
            ),
            checkpoint=checkpoint,
            writer=writer,
            stages=stages,
        )
        undo.pop_all()
        return run


def _metadata(source: RasterSource, model: str, settings: Settings) -> dict[str, str]:
    """Return what somebody who finds the layer in a year needs to know of how it came to be."""
    return {
        "software": f"qgis-maskdino {version()}",
        "model": model,
        "raster": source.name,
        "settings": json.dumps(settings.model_dump(exclude_none=True)),
        **{name: str(value) for name, value in source.metadata.items()},
    }


def _kernel_on(device: object) -> str:
    from engine.ops import kernel_name

    return kernel_name(str(device))


def _interruptible(function: Callable[[], T], wants_cancel: Callable[[], bool]) -> T:
    """Call a function in a thread of its own, so that a cancel is heard while it loads a model or looks over a raster.

    Raises:
        CancelledError: cancelled before it was done.
    """
    made: list[T] = []
    stages = Stages()
    stages.start("opening", lambda: made.append(function()))
    while stages.running("opening"):
        if wants_cancel():
            raise CancelledError("Cancelled before anything was found.")
        stages.join("opening", timeout=0.05)
    stages.raise_error()
    return made[0]
