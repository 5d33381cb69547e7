"""One detection on its way: the stages, each in its own thread, and what they hand to one another.

    reading -> model -> cropping -> joining -> writing

What takes long is done by thread pools: reading a tile, predicting a batch of them, cropping what was found, drawing outlines.
The channels between the stages hold a few tiles, so that memory is bounded by the tile whichever stage is the slow one. Tiles
pass through in row-major order: the same run writes the same rows in the same order, whatever the number of threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from engine.detection.checkpoint import Checkpoint
from engine.detection.footprints import FootprintMaker, Footprints
from engine.detection.instances import Instances, Predictor
from engine.detection.layer_writer import LayerWriter
from engine.detection.merging.merger import InstanceMerger
from engine.detection.merging.tile_instances import Building, TileInstance, disjoint, tile_instances_of
from engine.detection.outline_workers import OutlineWorkers
from engine.detection.settings import Settings
from engine.errors import ArgumentError, CancelledError, RasterError
from engine.job import Progress
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from engine.tiles.classes import wanted_classes
from engine.tiles.feed import TileFeed, Work, workers_beside
from engine.tiles.stages import Channel, Stages, ThreadPool, results_of
from engine.tiles.tile_count import TileCount
from engine.vector.area_of_interest import AreaOfInterest

_GRACE = 0.5  # seconds that reading and model get to end by themselves after a cancel
_ROWS_AT_ONCE = 256
_HAND_ON_EVERY = 0.5  # seconds


class CroppedTile(NamedTuple):
    """A tile that was seen, and what was found in it; nothing where the model had nothing to do."""

    work: Work[Instances]
    tile_instances: list[TileInstance]


class DetectionRun:
    """The stages of one detection and what they count.

    Attributes:
        cancelled: set when the run is cut short.
        buildings: polygons handed to the writer so far, whatever their class.
        by_class: how many of them are of each class that is wanted, by its name.
        area_m2: their ground area together.
        tiles_seen: tiles that the model saw in this run.
        megapixels: ground covered by the tiles done in this run, in pixels of the working grid.
    """

    def __init__(
        self,
        *,
        raster: str,
        source: RasterSource,
        area: AreaOfInterest | None,
        grid: TileGrid,
        predictor: Predictor,
        settings: Settings,
        classes: Sequence[str],
        maker: FootprintMaker,
        checkpoint: Checkpoint,
        writer: LayerWriter,
        stages: Stages,
    ) -> None:
        self.source = source
        self.grid = grid
        self.predictor = predictor
        self.cancelled = threading.Event()
        self.buildings = 0
        self.area_m2 = 0.0
        self.tiles_seen = 0
        self._raster = raster
        self._score = settings.score
        self._classes = tuple(classes)
        self._wanted = wanted_classes(classes, settings.classes)
        self.by_class = {name: 0 for name, wanted in zip(classes, self._wanted, strict=True) if wanted}
        workers = settings.workers or workers_beside(predictor)
        self._feed: TileFeed[Instances] = TileFeed(
            source=source,
            grid=grid,
            area=area,
            predictor=predictor,
            see=predictor.predict,
            batch_size=1 if settings.deterministic else settings.batch_size or predictor.batch_size,
            workers=workers,
            stages=stages,
            earlier=checkpoint.load,
        )
        self._crop_pool, self._polygonize_pool = (ThreadPool(name, workers) for name in ("cropping", "polygons"))
        self._outliner = maker if workers == 1 else OutlineWorkers(maker)
        self._checkpoint = checkpoint
        self._writer = writer
        self._stages = stages
        self._count = TileCount(grid)

    @property
    def megapixels(self) -> float:
        return self._count.megapixels

    def run(self, *, progress: Callable[[Progress], None] | None, wants_cancel: Callable[[], bool]) -> None:
        """Run all stages; report and listen for a cancel meanwhile, in the calling thread.

        Raises:
            MaskDinoError: the first error of any stage. Nothing is left under the output's name but what was there.
        """
        stages = self._stages
        # A cancel stops what comes before the seams at once; what was found by then is still joined and written.
        upstream = [stages.failed, self.cancelled]
        to_joining: Channel[Future[CroppedTile]] = Channel(2 * self._feed.batch_size, stops=upstream)
        to_writing: Channel[Future[Footprints]] = Channel(8, stops=[stages.failed])
        try:
            seen = self._feed.start(self.grid, stops=upstream)
            stages.start("cropping", lambda: self._crop(seen, to_joining), feeds=to_joining)
            stages.start("joining", lambda: self._join(to_joining, to_writing), feeds=to_writing)
            stages.start("writing", lambda: self._write(to_writing))
            self._watch(progress, wants_cancel)
            stages.raise_error()
            if self.cancelled.is_set() and self._writer.appends:
                # Nobody could tell the part that was found from what is there, and a resumed run would add it again.
                raise CancelledError(f"Nothing was appended to {self._writer.layer}; --resume goes on.")
            with stages.timed("writing"):
                self._writer.close()
        except BaseException as error:
            stages.failed.set()
            stages.join("joining", "writing")
            self._writer.abort()
            self._checkpoint.close(keep=self._worth_resuming(error))
            raise
        else:
            self._checkpoint.close(keep=self.cancelled.is_set())
        finally:
            stages.join("cropping", timeout=_GRACE)
            for pool in (self._crop_pool, self._polygonize_pool):
                pool.shutdown(timeout=_GRACE)
            if isinstance(self._outliner, OutlineWorkers):
                self._outliner.close()
            self._feed.close(timeout=_GRACE)

    def _watch(self, progress: Callable[[Progress], None] | None, wants_cancel: Callable[[], bool]) -> None:
        def look() -> None:
            if wants_cancel():
                self.cancelled.set()
            if progress is not None:
                progress(self._count.progress(device=self.predictor.device, buildings=self.buildings))

        self._stages.watch("joining", "writing", look=look)

    def _worth_resuming(self, error: BaseException) -> bool:
        """A raster on this disk that cannot be read will not be readable next time; a full disk or a network will pass."""
        broken = isinstance(error, RasterError) and os.path.isfile(self._raster)
        return self._count.done > 0 and not broken

    # The stages, each in a thread of its own.

    def _crop(self, seen: Channel[Future[list[Work[Instances]]]], to_joining: Channel[Future[CroppedTile]]) -> None:
        for works in results_of(seen):
            for work in works:
                self.tiles_seen += work.found is not None
                to_joining.put(self._crop_pool.submit(self._cropped, work))

    def _cropped(self, work: Work[Instances]) -> CroppedTile:
        if work.found is None:
            return CroppedTile(work, work.resumed or [])
        with self._stages.timed("cropping"):
            cropped = CroppedTile(work, self._tile_instances(work, work.found))
            work.found = work.valid = None
        return cropped

    def _tile_instances(self, work: Work[Instances], instances: Instances) -> list[TileInstance]:
        """Keep what the model is sure of, of the classes wanted, where there is data."""
        found = _checked(instances, self.predictor.tile_size, classes=len(self._classes))
        sure = (found.scores >= self._score) & self._wanted[found.labels]
        masks = found.masks[sure]
        if work.valid is not None and len(masks):
            # Single pixels that happen to have the nodata value, such as black ones in a shadow, are no holes in a roof.
            nothing = ndimage.binary_opening(~work.valid, np.ones((3, 3), bool))
            masks = masks[:, : work.tile.height, : work.tile.width] & ~nothing
        kept_instances = Instances(scores=found.scores[sure], labels=found.labels[sure], masks=masks)
        return disjoint(tile_instances_of(work.tile, kept_instances))

    def _join(self, to_joining: Channel[Future[CroppedTile]], to_writing: Channel[Future[Footprints]]) -> None:
        merger = InstanceMerger(self.grid)
        waiting: list[Building] = []
        handed_on = time.monotonic()

        def hand_on() -> None:
            """Have rows made of the buildings that are ready, many at once: a call for each tile would mostly be overhead."""
            nonlocal waiting, handed_on
            if waiting:
                to_writing.put(self._polygonize_pool.submit(self._polygonized, waiting))
            waiting, handed_on = [], time.monotonic()

        for work, tile_instances in results_of(to_joining):
            if work.resumed is None and not work.outside:
                with self._stages.timed("checkpoint"):
                    self._checkpoint.add(work.tile, tile_instances)
            with self._stages.timed("merging"):
                merger.add(work.tile, tile_instances)
                waiting += merger.ready()
            # People watch the count, and it counts rows: what is ready may yet prove too small, or lie beside the area.
            if len(waiting) >= _ROWS_AT_ONCE or time.monotonic() - handed_on >= _HAND_ON_EVERY:
                hand_on()
            self._count.add(work)
        with self._stages.timed("merging"):
            waiting += merger.finish()
        hand_on()

    def _polygonized(self, buildings: list[Building]) -> Footprints:
        with self._stages.timed("polygons"):
            return self._outliner.footprints_of(buildings, cancelling=self.cancelled.is_set)

    def _write(self, to_writing: Channel[Future[Footprints]]) -> None:
        for footprints in results_of(to_writing):
            if len(footprints):
                with self._stages.timed("writing"):
                    self._writer.write(footprints)
                self.buildings += len(footprints)
                self.area_m2 += float(footprints.areas.sum())
                for label, count in zip(*np.unique(footprints.labels, return_counts=True), strict=True):
                    self.by_class[self._classes[label]] += int(count)


def _checked(instances: Instances, tile_size: int, *, classes: int) -> Instances:
    """Return what a predictor found in a tile as arrays; nothing found may have any shape.

    Raises:
        ArgumentError: there is not one score, label and mask of the tile's size each, or a label is that of no class.
    """
    scores, labels = np.asarray(instances.scores), np.asarray(instances.labels).astype(np.int64)
    masks = np.asarray(instances.masks, dtype=bool)
    if not len(scores) == len(labels) == len(masks):
        raise ArgumentError(f"The predictor gave {len(scores)} scores, {len(labels)} labels and {len(masks)} masks of a tile.")
    if not len(masks):
        masks = np.zeros((0, tile_size, tile_size), bool)
    elif masks.shape[1:] != (tile_size, tile_size):
        raise ArgumentError(f"The predictor gave masks of shape {masks.shape[1:]} of a tile of {tile_size} pixels.")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ArgumentError(
            f"The predictor gave the label {wrong}; it has {classes} class{'' if classes == 1 else 'es'}.",
            hint="Name its classes by their labels in its attribute `classes`.",
        )
    return Instances(scores=scores, labels=labels, masks=masks)
