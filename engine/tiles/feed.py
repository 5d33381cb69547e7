"""Read tiles and let a predictor see them: what every job on the tiles of a raster begins with.

    reading -> model

Both are done by thread pools. Tiles leave in the order in which they came, whichever was read or seen first, and the channels
hold a few of them, so that memory is bounded by the tile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from engine.errors import ArgumentError
from engine.raster.source import RasterSource
from engine.raster.tile_grid import Tile, TileGrid
from engine.tiles.predictor import TilePredictor
from engine.tiles.stages import Channel, Stages, ThreadPool, results_of
from engine.vector.area_of_interest import AreaOfInterest

Found = TypeVar("Found")

_HELD_BACK = 64  # tiles without work for the model that may wait for a batch to fill
_MOST_WORKERS = 8  # threads of a pool: beyond that they wait for each other


@dataclass(eq=False)
class Work(Generic[Found]):
    """One tile on its way through the stages.

    Attributes:
        tile: which.
        pixels: (bands, tile_size, tile_size) float32 for the model; None where there is nothing for it to do, or no more.
        valid: (height, width) bool of the pixels with data, or None where all have.
        found: what the predictor made of it; None before, and where there was nothing for it to do.
        resumed: what an earlier run made of it; None where none did.
        outside: whether it lies outside the area, so that nothing was read for it.
    """

    tile: Tile
    pixels: np.ndarray | None = None
    valid: np.ndarray | None = None
    found: Found | None = None
    resumed: Any = None
    outside: bool = False


class TileFeed(Generic[Found]):
    """The stages ``reading`` and ``model`` of a job.

    Attributes:
        batch_size: tiles per call of the predictor.
    """

    def __init__(
        self,
        *,
        source: RasterSource,
        grid: TileGrid,
        area: AreaOfInterest | None,
        predictor: TilePredictor,
        see: Callable[[np.ndarray], Sequence[Found]],
        batch_size: int,
        workers: int,
        stages: Stages,
        earlier: Callable[[Tile], Any] = lambda tile: None,
    ) -> None:
        """Prepare the pools.

        Args:
            source: where tiles are read; closed by ``close``.
            grid: of all tiles.
            area: tiles that do not come near it are not read.
            predictor: what sees the tiles.
            see: its method, (B, bands, tile_size, tile_size) float32 -> one result for each.
            batch_size: tiles per call of it.
            workers: threads that read.
            stages: of the job.
            earlier: returns what an earlier run made of a tile, None where none did.
        """
        self.batch_size = batch_size
        self._source = source
        self._grid = grid
        self._area = area
        self._tile_size = predictor.tile_size
        self._see = see
        self._stages = stages
        self._earlier = earlier
        self._read_pool = ThreadPool("reading", workers)
        self._predict_pool = ThreadPool("model", predictor.calls_at_once)

    def start(self, tiles: Iterable[Tile], *, stops: Sequence[threading.Event]) -> Channel[Future[list[Work[Found]]]]:
        """Begin; return the channel in which the tiles arrive, some at a time and in their order."""
        to_model: Channel[Future[Work[Found]]] = Channel(2 * self.batch_size, stops=stops)
        seen: Channel[Future[list[Work[Found]]]] = Channel(1, stops=stops)
        self._stages.start("reading", lambda: self._read(tiles, to_model), feeds=to_model)
        self._stages.start("model", lambda: self._predict(to_model, seen), feeds=seen)
        return seen

    def close(self, *, timeout: float) -> None:
        """Begin nothing more, and close the raster as soon as nothing reads it; wait for either at most ``timeout`` seconds."""
        self._stages.join("reading", "model", timeout=timeout)
        # A model's forward pass cannot be interrupted. Python itself waits for a pool before it ends.
        self._predict_pool.shutdown(timeout=timeout)
        if self._read_pool.shutdown(timeout=timeout):
            self._source.close()

    def _read(self, tiles: Iterable[Tile], to_model: Channel[Future[Work[Found]]]) -> None:
        for tile in tiles:
            to_model.put(self._read_pool.submit(self._work_for, tile))

    def _work_for(self, tile: Tile) -> Work[Found]:
        earlier = self._earlier(tile)
        if earlier is not None:
            return Work(tile, resumed=earlier)
        if self._area is not None and not self._area.touches(tile, margin=self._grid.overlap):
            return Work(tile, outside=True)
        with self._stages.timed("reading"):
            pixels, valid = self._source.read(tile.window)
            if not valid.any():
                return Work(tile, valid=valid)
            return Work(tile, pixels=self._padded(pixels), valid=None if valid.all() else valid)

    def _padded(self, pixels: np.ndarray) -> np.ndarray:
        """Repeat the last row and column of a raster that is smaller than a tile up to the size of one."""
        missing = [self._tile_size - length for length in pixels.shape[1:]]
        return np.pad(pixels, [(0, 0), *((0, count) for count in missing)], mode="edge") if any(missing) else pixels

    def _predict(self, to_model: Channel[Future[Work[Found]]], seen: Channel[Future[list[Work[Found]]]]) -> None:
        held: list[Work[Found]] = []  # in the order of the tiles; those that the model need not see wait with the others
        unseen = 0

        def flush() -> None:
            nonlocal held, unseen
            seen.put(self._predict_pool.submit(self._predict_batch, held))
            held, unseen = [], 0

        for work in results_of(to_model):
            held.append(work)
            unseen += work.pixels is not None
            if unseen == self.batch_size or len(held) - unseen >= _HELD_BACK or not unseen:
                flush()
        if held and not to_model.stopped():
            flush()

    def _predict_batch(self, works: list[Work[Found]]) -> list[Work[Found]]:
        """Let the predictor see those of some tiles that it need see."""
        batch = [work for work in works if work.pixels is not None]
        if not batch:
            return works
        with self._stages.timed("model"):
            results = self._see(np.stack([work.pixels for work in batch]))
        if len(results) != len(batch):
            raise ArgumentError(f"The predictor gave {len(results)} results for {len(batch)} tiles.")
        for work, found in zip(batch, results, strict=True):
            work.found, work.pixels = found, None
        return works


def workers_beside(predictor: TilePredictor) -> int:
    """Return how many threads should read and draw beside a predictor: a model on the CPU takes all cores for itself."""
    on_cpu = str(predictor.device).startswith("cpu")
    return 1 if on_cpu else max(1, min(_MOST_WORKERS, (os.cpu_count() or 1) - 1))
