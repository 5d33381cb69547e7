"""Give each pixel of a raster of any size a class: the one function behind the command, the service and Python."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.errors import ArgumentError
from engine.files.output_file import OutputFile, refuse_inputs
from engine.job import Progress
from engine.model.families.registry import family_of
from engine.model.model_file import ModelFile
from engine.model.presets import PRESETS
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from engine.segmentation.class_raster import ClassRaster, reserve_raster
from engine.segmentation.ground_cover import ClassCover
from engine.segmentation.pixel_values import MOST_CLASSES, ClassNumbers, PixelValues, Probability
from engine.segmentation.request import SegmentRequest
from engine.segmentation.run import SegmentationRun
from engine.segmentation.scores import ScorePredictor, as_score_predictor
from engine.segmentation.settings import Settings
from engine.tiles.classes import wanted_classes
from engine.tiles.fingerprint import fingerprint_of, metadata_of
from engine.tiles.opening import open_described, open_raster, wants_of
from engine.tiles.progress_file import ProgressFile
from engine.tiles.stages import Stages, interruptible
from engine.vector.area_of_interest import AreaOfInterest

if TYPE_CHECKING:
    from engine.model.families.family_model import FamilyModel

FORMAT = "segmentation 1"


@dataclass(frozen=True)
class SegmentationSummary:
    """What a segmentation did.

    Attributes:
        output: where the raster is.
        classes: the ground that each class covers that was asked for, by its name; of ``probabilities``, that where the class
            is at least as likely as not.
        tiles: tiles of the grid.
        tiles_seen: tiles that the model saw in this run; the others hold no data, lie outside the area, or were resumed.
        megapixels: ground covered by the tiles done in this run, in pixels that the model sees.
        gsd: metres per pixel that the model saw; None where unknown.
        seconds: time in which work of each kind went on, side by side with the others; ``total`` is the wall time, loading
            included.
        device: where the model ran.
    """

    output: str
    classes: dict[str, ClassCover]
    tiles: int
    tiles_seen: int
    megapixels: float
    gsd: float | None
    seconds: dict[str, float]
    device: str


def segment(
    raster: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | FamilyModel | None = None,
    predictor: ScorePredictor | None = None,
    device: str = "auto",
    aoi: str | os.PathLike[str] | None = None,
    extent: Sequence[float] | None = None,
    bands: Sequence[int] | str | None = None,
    gsd: float | None = None,
    classes: Sequence[str] | str | None = None,
    probabilities: str | None = None,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    on_damage: Literal["fail", "skip"] = "fail",
    local_only: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    overlap: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | Callable[[], bool] | None = None,
) -> SegmentationSummary:
    """Give each pixel of a raster the class that a model scores highest there, and write a raster of class numbers.

    It is a uint8 GeoTIFF on the raster's own grid, with names and colours of the classes; 255 stands for no data, for what is
    outside the area, and for classes that are not asked for.

    The options are those of ``maskdino segment``, whose ``--help`` describes them; they are declared in
    ``engine.segmentation.request.SegmentRequest``. What is different in Python:

    Args:
        output: a file of that name that this program wrote is replaced when the run is done.
        model: also a loaded model. Not used where a predictor is given.
        predictor: what scores the classes of a tile's pixels, in place of a model.
        progress: called in this thread a few times a second.
        cancel: an event, or a function that says whether to stop.

    Raises:
        MaskDinoError: one of ``engine.errors``; under the output's name is nothing but what was there before.
        CancelledError: cancelled; the rows that were done are kept for ``resume``.
    """
    given = locals()
    options = {name: given[name] for name in SegmentRequest.model_fields}
    loaded = None if model is None or isinstance(model, (str, os.PathLike)) else options.pop("model")
    request = SegmentRequest.checked(**options)
    return run_segmentation(request, model=loaded, predictor=predictor, progress=progress, cancel=cancel)


def run_segmentation(
    request: SegmentRequest,
    *,
    model: FamilyModel | None = None,
    predictor: ScorePredictor | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | Callable[[], bool] | None = None,
) -> SegmentationSummary:
    """Do what ``segment`` does, of a request.

    Args:
        model: a loaded model, in place of the one that the request names.
    """
    started = time.perf_counter()
    settings, output = request.settings(), request.output
    refuse_inputs({"output": output}, [request.raster, settings.aoi, None if model is not None else request.model])
    given = None if predictor is None else as_score_predictor(predictor)
    described = _described(request.model if model is None else model) if given is None else None
    names = tuple(described.header.classes if given is None else given.classes)
    values, wanted = _wanted_values(names, settings)
    if settings.probabilities is not None:  # upper and lower case as the model has them
        settings = settings.model_copy(update={"probabilities": names[int(np.flatnonzero(wanted)[0])]})
    stages = Stages()
    wants_cancel = cancel.is_set if isinstance(cancel, threading.Event) else cancel or (lambda: False)

    def open_all() -> tuple[ScorePredictor, RasterSource, AreaOfInterest | None, RasterSource]:
        # What fails most often and costs least comes first: the raster is opened by what the model's header says.
        source, area = open_raster(request.raster, settings, wants_of(described.header if given is None else given))
        with ExitStack() as undo:
            undo.callback(source.close)
            refuse_inputs({"output": output}, source.files)
            own = source if source.is_native else _at_own_resolution(request.raster, source, settings)
            if own is not source:
                undo.callback(own.close)
            chosen = given or score_predictor(described, device=request.device, settings=settings)
            undo.pop_all()
        return chosen, source, area, own

    with ExitStack() as meanwhile:
        file = meanwhile.enter_context(reserve_raster(output, overwrite=request.overwrite))
        with stages.timed("loading"):
            opened = interruptible(open_all, wants_cancel)
        run = _set_up(request, file, *opened, settings, names=names, values=values, stages=stages)
        run.run(progress=progress, wants_cancel=wants_cancel)
    return SegmentationSummary(
        output=output,
        classes=run.cover.by_class(names, wanted),
        tiles=len(run.grid),
        tiles_seen=run.tiles_seen,
        megapixels=run.megapixels,
        gsd=run.source.gsd,
        seconds={**stages.seconds, "total": time.perf_counter() - started},
        device=str(run.predictor.device),
    )


def score_predictor(
    model: str | os.PathLike[str] | ModelFile | FamilyModel, *, device: str = "auto", settings: Settings | None = None
) -> ScorePredictor:
    """Make a predictor of a model, by those of the settings that are its business.

    Args:
        model: a model file by its path or opened, or a loaded model.

    Raises:
        ModelFileError: the model cannot be loaded.
        ArgumentError: it gives pixels no class.
        DeviceError: the device is not there.
    """
    from engine.device import choose_device
    from engine.segmentation.predictor import ModelScores

    chosen = choose_device(device)
    described = _described(model)
    header = described.header
    loaded = described.load(device=chosen) if isinstance(described, ModelFile) else described.to(chosen)
    settings = settings or Settings()
    return ModelScores(
        loaded,
        tile_size=header.tile_size,
        gsd=header.gsd,
        precision=settings.precision,
        batch_size=settings.batch_size,
    )


def _described(model: str | os.PathLike[str] | ModelFile | FamilyModel | None) -> ModelFile | FamilyModel:
    """Open a model's file, if it is not yet open, and check that the model gives pixels a class.

    Raises:
        ArgumentError: it does not, or there is none; the hint names presets of models that do.
    """
    if model is None:
        raise ArgumentError(
            "No model is given, and none that gives each pixel a class comes with this program.", hint=_way_out()
        )
    described = open_described(model)
    header = described.header
    if "semantic" not in family_of(header.config).tasks(header.config):
        raise ArgumentError(
            f"The model {header.name!r} finds instances, with `maskdino detect`, and does not give each pixel a class.",
            hint=_way_out(),
        )
    return described


def _way_out() -> str:
    presets = [name for name, config in PRESETS.items() if "semantic" in family_of(config).tasks(config)]
    return f"Give --model a model file of one of {', '.join(presets)}; `maskdino models list` tells where they come from."


def _wanted_values(names: tuple[str, ...], settings: Settings) -> tuple[PixelValues, np.ndarray]:
    """Return what becomes of scores, and which classes the summary tells of, (classes,) bool.

    Raises:
        ArgumentError: there is no class of a name that is asked for, or too many classes to number.
    """
    if settings.probabilities is not None:
        wanted = wanted_classes(names, [settings.probabilities])
        return Probability(int(np.flatnonzero(wanted)[0])), wanted
    if len(names) > MOST_CLASSES:
        raise ArgumentError(
            f"The model has {len(names)} classes, and a class raster holds at most {MOST_CLASSES}.",
            hint="Write the probability of one with --probabilities NAME.",
        )
    wanted = wanted_classes(names, settings.classes)
    return ClassNumbers(wanted), wanted


def _at_own_resolution(raster: str, source: RasterSource, settings: Settings) -> RasterSource:
    """Open a raster, of which the model sees other pixels than its own, as it is."""
    return RasterSource.open(
        raster,
        bands=settings.bands,
        band_count=source.bands,
        on_damage=settings.on_damage,
        local_only=settings.local_only,
    )


def _set_up(
    request: SegmentRequest,
    output: OutputFile,
    predictor: ScorePredictor,
    source: RasterSource,
    area: AreaOfInterest | None,
    own: RasterSource,
    settings: Settings,
    *,
    names: tuple[str, ...],
    values: PixelValues,
    stages: Stages,
) -> SegmentationRun:
    """Cut the tiles, and begin the two files: the output and the progress file."""
    with ExitStack() as undo:
        for opened in {id(source): source, id(own): own}.values():
            undo.callback(opened.close)
        grid = _grid(predictor, source, area, own, settings)
        fingerprint = {
            "format": FORMAT,
            **fingerprint_of(request.raster, source=source, grid=grid, predictor=predictor, settings=settings),
            "probabilities": settings.probabilities or "none",
        }
        progress_file = ProgressFile(
            output.target.with_name(f"{output.target.name}.progress"), fingerprint=fingerprint, resume=request.resume
        )
        undo.callback(lambda: progress_file.close(keep=len(progress_file) > 0))
        written = ClassRaster(
            output,
            raster=own,
            names=names,
            probability_of=settings.probabilities,
            metadata=metadata_of(source, fingerprint["model"], settings),
        )
        undo.callback(written.abort)
        run = SegmentationRun(
            name=request.raster,
            source=source,
            raster=own,
            area=area,
            grid=grid,
            predictor=predictor,
            values=values,
            settings=settings,
            progress_file=progress_file,
            output=written,
            stages=stages,
        )
        undo.pop_all()
        return run


def _grid(
    predictor: ScorePredictor, source: RasterSource, area: AreaOfInterest | None, own: RasterSource, settings: Settings
) -> TileGrid:
    overlap = settings.tile_overlap(predictor.tile_size)
    left, top, right, bottom = 0, 0, source.width, source.height
    if area is not None:
        # Around the area as much is looked at as two tiles share, so that no pixel in it is seen from a tile's edge alone; and
        # what the raster's own pixels on its border are made of.
        coarser = max(1.0, source.width / own.width, source.height / own.height)
        reach = 0 if own is source else 2 * math.ceil(coarser) + 2
        left, top, right, bottom = area.window(overlap + reach, smallest=predictor.tile_size)
    return TileGrid(
        right - left,
        bottom - top,
        tile_size=predictor.tile_size,
        overlap=overlap,
        origin=(left, top),
        transform=source.transform,
        even=True,
    )
