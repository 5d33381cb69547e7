"""One segmentation on its way: the stages, each in its own thread, and what they hand to one another.

    reading -> model -> blending -> drawing -> writing

Tiles pass through in row-major order, and their scores are added in that order: the same scores give the same result,
whatever the number of threads and of tiles per call of the model. As soon as no tile can add to a band of rows it is written,
and kept in the progress file: a run that goes on begins below it.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from rasterio.windows import Window

from engine.errors import CancelledError, RasterError
from engine.job import Progress
from engine.raster.resampling import AxisResampling
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from engine.segmentation.axis_plan import AxisPlan
from engine.segmentation.blending import Block, ScoreBlender
from engine.segmentation.class_raster import ClassRaster
from engine.segmentation.ground_cover import GroundCover
from engine.segmentation.pixel_values import NODATA, PixelValues
from engine.segmentation.scores import ScorePredictor, checked_scores
from engine.segmentation.settings import Settings
from engine.tiles.feed import TileFeed, Work, workers_beside
from engine.tiles.progress_file import ProgressFile
from engine.tiles.stages import Channel, Stages, ThreadPool, results_of
from engine.tiles.tile_count import TileCount
from engine.vector.area_of_interest import AreaOfInterest

_GRACE = 0.4  # seconds that a stage gets to end by itself after a cancel


class Drawn(NamedTuple):
    """Pixels that are complete with a tile: the tile's column, where they are, and their (H, W) uint8 values."""

    column: int
    block: Block
    values: np.ndarray


class SegmentationRun:
    """The stages of one segmentation and what they count.

    Attributes:
        cover: ground covered by each class.
        tiles_seen: tiles that the model saw in this run.
    """

    def __init__(
        self,
        *,
        name: str,
        source: RasterSource,
        raster: RasterSource,
        area: AreaOfInterest | None,
        grid: TileGrid,
        predictor: ScorePredictor,
        values: PixelValues,
        settings: Settings,
        progress_file: ProgressFile,
        output: ClassRaster,
        stages: Stages,
    ) -> None:
        """Prepare the stages.

        Args:
            name: of the raster, as it was given.
            source: the raster as the model wants it; closed when the run ends.
            raster: the same at its own resolution, and the same object where that is what the model wants; closed as well.
            area: outside which there is no data.
            grid: of the tiles, in ``source``.
            predictor: what scores their pixels.
            values: what becomes of the scores.
            settings: of the run.
            progress_file: keeps the rows that are done.
            output: takes them.
            stages: of the run.
        """
        self.source, self.grid, self.predictor = source, grid, predictor
        self.cover = GroundCover(raster)
        self.tiles_seen = 0
        self._name = name
        self._raster = raster
        self._area = area
        self._values = values
        self._progress_file = progress_file
        self._output = output
        self._stages = stages
        self._cancelled = threading.Event()
        tile = grid[0]
        self._rows = AxisPlan(grid.row_starts, tile.height, resampling=AxisResampling(source.height, raster.height))
        self._columns = AxisPlan(grid.column_starts, tile.width, resampling=AxisResampling(source.width, raster.width))
        self._rows_done = 0  # rows of tiles, and the rows of pixels that are complete with them
        workers = settings.workers or workers_beside(predictor)
        self._feed: TileFeed[np.ndarray] = TileFeed(
            source=source,
            grid=grid,
            area=area,
            predictor=predictor,
            see=predictor.scores,
            batch_size=settings.batch_size or predictor.batch_size,
            workers=workers,
            stages=stages,
        )
        self._draw_pool = ThreadPool("drawing", workers)
        self._count = TileCount(grid)

    @property
    def megapixels(self) -> float:
        return self._count.megapixels

    def run(self, *, progress: Callable[[Progress], None] | None, wants_cancel: Callable[[], bool]) -> None:
        """Run all stages; report and listen for a cancel meanwhile, in the calling thread.

        Raises:
            CancelledError: cancelled; the progress file keeps what is done.
            MaskDinoError: the first error of any stage. Nothing is left under the output's name but what was there.
        """

        def look() -> None:
            if wants_cancel():
                self._cancelled.set()
            if progress is not None:
                progress(self._count.progress(device=self.predictor.device, note=self._count.covered()))

        stages = self._stages
        try:
            stages.start("restoring", self._restore)
            stages.watch("restoring", look=look)
            self._end_early()
            self._start()
            stages.watch("blending", "writing", look=look)
            self._end_early()
            stages.start("overviews", self._complete)
            stages.watch("overviews", look=look)
            self._end_early()
            self._output.finish()
        except BaseException as error:
            stages.failed.set()
            self._close()
            self._progress_file.close(keep=self._is_worth_resuming(error))
            raise
        self._close()
        self._progress_file.close(keep=False)

    def _start(self) -> None:
        first_row = self._rows.first_adding_to(self._rows_done) if self._rows_done < len(self._rows) else len(self._rows)
        first_tile = first_row * self.grid.columns
        self._count = TileCount(self.grid, done=first_tile)
        stops = [self._stages.failed, self._cancelled]
        to_writing: Channel[Future[Drawn]] = Channel(2, stops=stops)
        seen = self._feed.start((self.grid[index] for index in range(first_tile, len(self.grid))), stops=stops)
        blender = ScoreBlender(self._rows, self._columns, planes=self._values.planes, first_row=first_row)
        self._stages.start("blending", lambda: self._blend(seen, to_writing, blender), feeds=to_writing)
        self._stages.start("writing", lambda: self._write(to_writing))

    def _end_early(self) -> None:
        """Raise what ended the run before its end, if anything did."""
        self._stages.raise_error()
        if self._cancelled.is_set():
            done = f"{self._rows_done} of {len(self._rows)} rows of tiles are kept, and --resume goes on with them"
            raise CancelledError(f"Cancelled; {done if self._rows_done else 'nothing was done yet'}.")

    def _close(self) -> None:
        stages = self._stages
        stages.join(*(name for name in ("blending", "writing") if stages.was_started(name)))
        self._draw_pool.shutdown(timeout=_GRACE)
        if stages.was_started("reading"):
            self._feed.close(timeout=_GRACE)
        else:
            self.source.close()
        if self._raster is not self.source:
            self._raster.close()
        self._output.abort()

    def _is_worth_resuming(self, error: BaseException) -> bool:
        """A raster on this disk that cannot be read will not be readable next time; a full disk or a network will pass."""
        broken = isinstance(error, RasterError) and os.path.isfile(self._name)
        return self._rows_done > 0 and not broken

    # The stages, each in a thread of its own.

    def _restore(self) -> None:
        """Write the rows that an earlier run kept."""
        for row in range(len(self._rows)):
            values = self._kept(row)
            if values is None or self._cancelled.is_set():
                return
            self._put(row, values)
            self._rows_done = row + 1

    def _kept(self, row: int) -> np.ndarray | None:
        """Return the pixels that are complete with a row of tiles, as an earlier run kept them; None where none did."""
        content = self._progress_file.kept(row)
        shape = self._band_shape(row)
        try:
            values = np.frombuffer(zlib.decompress(content), np.uint8) if content is not None else None
        except zlib.error:  # damaged: it is done again
            return None
        return values.reshape(shape) if values is not None and values.size == shape[0] * shape[1] else None

    def _blend(
        self, seen: Channel[Future[list[Work[np.ndarray]]]], to_writing: Channel[Future[Drawn]], blender: ScoreBlender
    ) -> None:
        for works in results_of(seen):
            for work in works:
                row, column = divmod(work.tile.index, self.grid.columns)
                with self._stages.timed("blending"):
                    block = blender.add(row, column, self._planes_of(work))
                self.tiles_seen += work.found is not None
                work.found = None
                if row >= self._rows_done:
                    to_writing.put(self._draw_pool.submit(self._drawn, column, block, work))
                self._count.add(work)

    def _planes_of(self, work: Work[np.ndarray]) -> np.ndarray | None:
        if work.found is None:
            return None
        scores = checked_scores(work.found, classes=len(self.predictor.classes), tile_size=self.predictor.tile_size)
        return self._values.planes_of(scores[:, : work.tile.height, : work.tile.width])

    def _drawn(self, column: int, block: Block, work: Work[np.ndarray]) -> Drawn:
        """Give pixels their values: those with data, in the area."""
        with self._stages.timed("drawing"):
            scores = block.scores()
            if scores is None:
                return Drawn(column, block, np.full(block.shape, NODATA, np.uint8))
            values = self._values.values_of(scores)
            values[~self._is_valid(block, work)] = NODATA
            if self._area is not None:
                size = self.source.width / self._raster.width, self.source.height / self._raster.height
                values[~self._area.pixels_inside(block.bounds, pixel_size=size)] = NODATA
            return Drawn(column, block, values)

    def _is_valid(self, block: Block, work: Work[np.ndarray]) -> np.ndarray:
        """Return which of a block's pixels have data in the raster, (H, W) bool."""
        left, top, right, bottom = block.bounds
        if self._raster is not self.source:
            return self._raster.read(Window(left, top, right - left, bottom - top))[1]
        if work.valid is None:
            return np.ones(block.shape, bool)
        tile = work.tile  # which these pixels are in the corner of
        return work.valid[top - tile.row : bottom - tile.row, left - tile.col : right - tile.col]

    def _write(self, to_writing: Channel[Future[Drawn]]) -> None:
        band = np.zeros((0, 0), np.uint8)
        left = self._columns.whole_output()[0]
        for column, block, values in results_of(to_writing):
            if column == 0:
                band = np.full(self._band_shape(self._rows_done), NODATA, np.uint8)
            band[:, block.columns[0] - left : block.columns[1] - left] = values
            if column + 1 == len(self._columns):
                with self._stages.timed("writing"):
                    self._put(self._rows_done, band)
                    self._progress_file.keep(self._rows_done, zlib.compress(band, level=1))
                self._rows_done += 1

    def _put(self, row: int, values: np.ndarray) -> None:
        top, left = self._rows.output(row)[0], self._columns.whole_output()[0]
        self._output.write(top, left, values)
        self.cover.add(top, left, self._values.classes_of(values))

    def _band_shape(self, row: int) -> Sequence[int]:
        (top, bottom), (left, right) = self._rows.output(row), self._columns.whole_output()
        return bottom - top, right - left

    def _complete(self) -> None:
        with self._stages.timed("overviews"):
            self._output.complete()
