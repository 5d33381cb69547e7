"""How far a job on the tiles of a raster is."""

from __future__ import annotations

import time
from typing import Any

from engine.job import Progress
from engine.raster.tile_grid import TileGrid
from engine.tiles.feed import Work


class TileCount:
    """Count tiles that are done, and estimate how long the others take.

    Attributes:
        done: tiles that are done, by whichever run.
    """

    def __init__(self, grid: TileGrid, *, done: int = 0) -> None:
        """Begin to count, and the time.

        Args:
            grid: of all tiles.
            done: how many an earlier run did that are not going to be counted here.
        """
        self.done = done
        self._grid = grid
        self._resumed = done  # of those, how many an earlier run did
        self._outside = 0  # and how many lie outside the area
        self._started = time.monotonic()

    def add(self, work: Work) -> None:
        """Count a tile."""
        self._resumed += work.resumed is not None
        self._outside += work.outside
        self.done += 1

    @property
    def megapixels(self) -> float:
        """Ground covered by the tiles done in this run, in pixels of the working grid."""
        return self._megapixels(self.done - self._resumed - self._outside)

    def progress(self, *, device: Any, buildings: int | None = None, note: str = "") -> Progress:
        """Return how far the job is."""
        seconds, done = time.monotonic() - self._started, self.done - self._resumed
        return Progress(
            done=self.done,
            total=len(self._grid),
            buildings=buildings,
            megapixels_per_second=self.megapixels / seconds if done else None,
            seconds_left=(len(self._grid) - self.done) * seconds / done if done else None,
            device=str(device),
            note=note,
        )

    def covered(self) -> str:
        """Return in words how much of the ground is done: ``12.3 of 45.6 MPix``."""
        return f"{self._megapixels(self.done):.1f} of {self._megapixels(len(self._grid)):.1f} MPix"

    def _megapixels(self, tiles: int) -> float:
        return tiles * self._grid.width * self._grid.height / len(self._grid) / 1e6
