"""One detection on its way: the stages, each in its own thread, and what they hand to one another.

    reading -> model -> joining -> writing

The channels between them hold a few tiles, so that memory is bounded by the tile whichever stage is the slow one. Tiles pass
through in row-major order: the same run writes the same rows in the same order.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.detection.area_of_interest import AreaOfInterest
from engine.detection.footprints import FootprintMaker, Footprints
from engine.detection.instances import Instances, Predictor
from engine.detection.journal import Journal
from engine.detection.pieces import Building, Piece, pieces_of
from engine.detection.raster_source import RasterSource
from engine.detection.seams import SeamJoiner
from engine.detection.settings import Settings
from engine.detection.sink import DetectionSink
from engine.detection.stages import Channel, Stages
from engine.detection.tile_grid import Tile, TileGrid
from engine.errors import ArgumentError, RasterError
from engine.job import Progress

_REPORT_EVERY = 0.2  # seconds
_GRACE = 0.5  # seconds that reading and model get to end by themselves after a cancel
_ROWS_AT_ONCE = 256
_HAND_ON_EVERY = 0.5  # seconds
_HELD_BACK = 64  # tiles without work for the model that may wait for a batch to fill


@dataclass(eq=False)
class Work:
    """One tile on its way through the stages.

    Attributes:
        tile: which.
        pixels: (bands, tile_size, tile_size) float32 for the model; None where there is nothing for it to do.
        valid: (height, width) bool of the pixels with data, or None where all have.
        pieces: what was found, where that is known.
        resumed: whether the journal has this tile from an earlier run.
        outside: whether it lies outside the area, so that nothing was read for it.
    """

    tile: Tile
    pixels: np.ndarray | None = None
    valid: np.ndarray | None = None
    pieces: list[Piece] | None = None
    resumed: bool = False
    outside: bool = False


class DetectionRun:
    """The stages of one detection and what they count.

    Attributes:
        cancelled: set when the run is cut short.
        buildings: polygons handed to the sink so far.
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
        maker: FootprintMaker,
        journal: Journal,
        sink: DetectionSink,
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
        self._area = area
        self._score = settings.score
        self._batch_size = settings.batch_size or getattr(predictor, "batch_size", 1)
        self._maker = maker
        self._journal = journal
        self._sink = sink
        self._stages = stages
        self._waiting: list[Building] = []
        self._done = 0
        self._resumed = 0  # of those, how many an earlier run did
        self._outside = 0  # and how many lie outside the area

    @property
    def megapixels(self) -> float:
        worked = self._done - self._resumed - self._outside
        return worked * self.grid.width * self.grid.height / len(self.grid) / 1e6

    def run(self, *, progress: Callable[[Progress], None] | None, wants_cancel: Callable[[], bool]) -> None:
        """Run all stages; report and listen for a cancel meanwhile, in the calling thread.

        Raises:
            MaskDinoError: the first error of any stage. Nothing is left under the output's name but what was there.
        """
        stages = self._stages
        # A cancel stops what comes before the seams at once; what was found by then is still joined and written.
        upstream = [stages.failed, self.cancelled]
        to_model: Channel[Work] = Channel(2 * self._batch_size, stops=upstream)
        to_joining: Channel[Work] = Channel(2 * self._batch_size, stops=upstream)
        to_writing: Channel[Footprints] = Channel(8, stops=[stages.failed])
        try:
            stages.start("reading", lambda: self._read(to_model), feeds=to_model)
            stages.start("model", lambda: self._predict(to_model, to_joining), feeds=to_joining)
            stages.start("joining", lambda: self._join(to_joining, to_writing), feeds=to_writing)
            stages.start("writing", lambda: self._write(to_writing))
            self._watch(progress, wants_cancel)
            stages.raise_error()
            with stages.timed("writing"):
                self._sink.close()
        except BaseException as error:
            stages.failed.set()
            stages.join("joining", "writing")
            self._sink.abort()
            self._journal.close(keep=self._worth_resuming(error))
            raise
        else:
            self._journal.close(keep=self.cancelled.is_set())
        finally:
            stages.join("reading", "model", timeout=_GRACE)
            if stages.running("reading", "model"):
                # A model's forward pass cannot be interrupted, and a thread in C++ must not be there when Python ends.
                atexit.register(stages.join, "reading", "model")
            else:
                self.source.close()

    def _watch(self, progress: Callable[[Progress], None] | None, wants_cancel: Callable[[], bool]) -> None:
        started = time.monotonic()
        while self._stages.running("joining", "writing"):
            self._stages.join("joining" if self._stages.running("joining") else "writing", timeout=_REPORT_EVERY)
            if wants_cancel():
                self.cancelled.set()
            if progress is not None:
                progress(self._progress(time.monotonic() - started))

    def _progress(self, seconds: float) -> Progress:
        done = self._done - self._resumed
        return Progress(
            done=self._done,
            total=len(self.grid),
            buildings=self.buildings,
            megapixels_per_second=self.megapixels / seconds if done else None,
            seconds_left=(len(self.grid) - self._done) * seconds / done if done else None,
            device=str(getattr(self.predictor, "device", "cpu")),
        )

    def _worth_resuming(self, error: BaseException) -> bool:
        """A raster on this disk that cannot be read will not be readable next time; a full disk or a network will pass."""
        broken = isinstance(error, RasterError) and os.path.isfile(self._raster)
        return self._done > 0 and not broken

    # The stages, each in a thread of its own.

    def _read(self, to_model: Channel[Work]) -> None:
        for tile in self.grid:
            pieces = self._journal.load(tile)
            if pieces is not None:
                to_model.put(Work(tile, pieces=pieces, resumed=True))
                continue
            if self._area is not None and not self._area.touches(tile, margin=self.grid.overlap):
                to_model.put(Work(tile, pieces=[], outside=True))
                continue
            with self._stages.timed("reading"):
                pixels, valid = self.source.read(tile.window)
                if not valid.any():
                    work = Work(tile, pieces=[])
                else:
                    work = Work(tile, pixels=self._padded(pixels), valid=None if valid.all() else valid)
            to_model.put(work)

    def _padded(self, pixels: np.ndarray) -> np.ndarray:
        """Repeat the last row and column of a raster that is smaller than a tile up to the size of one."""
        missing = [self.predictor.tile_size - length for length in pixels.shape[1:]]
        return np.pad(pixels, [(0, 0), *((0, count) for count in missing)], mode="edge") if any(missing) else pixels

    def _predict(self, to_model: Channel[Work], to_joining: Channel[Work]) -> None:
        held: list[Work] = []  # in the order of the tiles; those that the model need not see wait with the others
        batch: list[Work] = []

        def flush() -> None:
            if batch:
                self._see(batch)
            for work in held:
                to_joining.put(work)
            held.clear()
            batch.clear()

        for work in to_model:
            held.append(work)
            if work.pieces is None:
                batch.append(work)
            if len(batch) == self._batch_size or len(held) - len(batch) >= _HELD_BACK or not batch:
                flush()
        if not self.cancelled.is_set():
            flush()

    def _see(self, batch: list[Work]) -> None:
        with self._stages.timed("model"):
            results = self.predictor.predict(np.stack([work.pixels for work in batch]))
        if len(results) != len(batch):
            raise ArgumentError(f"The predictor gave {len(results)} results for {len(batch)} tiles.")
        with self._stages.timed("cropping"):
            for work, instances in zip(batch, results, strict=True):
                work.pieces = self._pieces(work, instances)
                work.pixels = work.valid = None
        self.tiles_seen += len(batch)

    def _pieces(self, work: Work, instances: Instances) -> list[Piece]:
        """Keep what the model is sure of, where there is data."""
        found = _checked(instances, self.predictor.tile_size)
        sure = found.scores >= self._score
        masks = found.masks[sure]
        if work.valid is not None and len(masks):
            # Single pixels that happen to have the nodata value, such as black ones in a shadow, are no holes in a roof.
            nothing = ndimage.binary_opening(~work.valid, np.ones((3, 3), bool))
            masks = masks[:, : work.tile.height, : work.tile.width] & ~nothing
        return pieces_of(work.tile, Instances(scores=found.scores[sure], labels=found.labels[sure], masks=masks))

    def _join(self, to_joining: Channel[Work], to_writing: Channel[Footprints]) -> None:
        joiner = SeamJoiner(self.grid)
        handed_on = time.monotonic()
        for work in to_joining:
            if not work.resumed and not work.outside:
                with self._stages.timed("journal"):
                    self._journal.add(work.tile, work.pieces)
            with self._stages.timed("seams"):
                joiner.add(work.tile, work.pieces)
                self._waiting += joiner.ready()
            # People watch the count, and it counts rows: what is ready may yet prove too small, or lie beside the area.
            if len(self._waiting) >= _ROWS_AT_ONCE or time.monotonic() - handed_on >= _HAND_ON_EVERY:
                self._hand_on(to_writing)
                handed_on = time.monotonic()
            self._resumed += work.resumed
            self._outside += work.outside
            self._done += 1
        with self._stages.timed("seams"):
            self._waiting += joiner.finish()
        self._hand_on(to_writing)

    def _hand_on(self, to_writing: Channel[Footprints]) -> None:
        """Make rows of the buildings that are ready, many at once: a call for each tile would mostly be overhead."""
        if not self._waiting:
            return
        with self._stages.timed("polygons"):
            footprints = self._maker.footprints_of(self._waiting, in_a_hurry=self.cancelled.is_set)
        self._waiting = []
        if len(footprints):
            to_writing.put(footprints)
            self.buildings += len(footprints)
            self.area_m2 += float(footprints.areas.sum())

    def _write(self, to_writing: Channel[Footprints]) -> None:
        for footprints in to_writing:
            with self._stages.timed("writing"):
                self._sink.write(footprints)


def _checked(instances: Instances, tile_size: int) -> Instances:
    """Return what a predictor found in a tile as arrays; nothing found may have any shape.

    Raises:
        ArgumentError: there is not one score, label and mask of the tile's size each.
    """
    scores, labels = np.asarray(instances.scores), np.asarray(instances.labels)
    masks = np.asarray(instances.masks, dtype=bool)
    if not len(scores) == len(labels) == len(masks):
        raise ArgumentError(f"The predictor gave {len(scores)} scores, {len(labels)} labels and {len(masks)} masks of a tile.")
    if not len(masks):
        masks = np.zeros((0, tile_size, tile_size), bool)
    elif masks.shape[1:] != (tile_size, tile_size):
        raise ArgumentError(f"The predictor gave masks of shape {masks.shape[1:]} of a tile of {tile_size} pixels.")
    return Instances(scores=scores, labels=labels, masks=masks)
