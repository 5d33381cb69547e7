"""How tiles share out one axis: what each weighs where, and which pixels of the output are complete with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from engine.raster.resampling import AxisResampling


class AxisPlan:
    """The columns of tiles along the rows of a raster, or the rows of tiles along its columns.

    Tiles are counted in pixels of the working grid, in which the model sees; what comes out is counted in the raster's own
    pixels. Both cover the same ground.

    Attributes:
        tile: length of the tiles.
        resampling: from the working grid to the raster's own.
    """

    def __init__(self, starts: Sequence[int], tile: int, *, resampling: AxisResampling) -> None:
        """Plan one axis.

        Args:
            starts: where the tiles begin, ascending; together they leave no gap.
            tile: their length.
            resampling: from the working grid to the raster's own.
        """
        self.tile = tile
        self.resampling = resampling
        self._starts = starts
        self._first = self._complete_from(starts[0])

    def __len__(self) -> int:
        return len(self._starts)

    def start(self, number: int) -> int:
        """Return the first working pixel of a tile."""
        return self._starts[number]

    def stop(self, number: int) -> int:
        """Return the end of a tile in working pixels."""
        return self._starts[number] + self.tile

    def output(self, number: int) -> tuple[int, int]:
        """Return the half-open span of own pixels that no tile after this one adds to, and one before did."""
        return self._complete_before(number), self._complete_before(number + 1)

    def whole_output(self) -> tuple[int, int]:
        """Return the half-open span of own pixels of all tiles together."""
        return self._first, self._complete_before(len(self))

    def needed_from(self, number: int) -> int:
        """Return the first working pixel whose sum is needed for what this tile and those after it complete."""
        if number == len(self):
            return self.stop(number - 1)
        own = self._complete_before(number)
        return min(self.start(number), max(self.start(0), self.resampling.source_span(own, own + 1)[0]))

    @lru_cache(maxsize=64)  # noqa: B019 - a row of tiles asks for its own again and again
    def weights(self, number: int) -> np.ndarray:
        """Return what a tile weighs at its pixels, (tile,) float32.

        A tile's own weight rises from its edge to its centre, since models see less of what is cut off; the weights of all
        tiles at a pixel add up to 1.
        """
        pixels = self.start(number) + np.arange(self.tile) + 0.5
        total = np.zeros(self.tile)
        first = last = number
        while first and self.stop(first - 1) > self.start(number):
            first -= 1
        while last + 1 < len(self) and self.start(last + 1) < self.stop(number):
            last += 1
        for other in range(first, last + 1):
            total += self._distance_to_edge(other, pixels)
        return (self._distance_to_edge(number, pixels) / total).astype(np.float32)

    def first_adding_to(self, number: int) -> int:
        """Return the first tile that adds to what this one and those after it complete."""
        first = number
        while first and self.stop(first - 1) > self.needed_from(number):
            first -= 1
        return first

    def _distance_to_edge(self, number: int, pixels: np.ndarray) -> np.ndarray:
        return np.maximum(0, np.minimum(pixels - self.start(number), self.stop(number) - pixels))

    def _complete_before(self, number: int) -> int:
        """Return the end of the own pixels that are complete before a tile: made of sums that it does not add to."""
        if number == 0:
            return self._first
        stop = self.start(number) if number < len(self) else self.stop(number - 1)
        if stop >= self.resampling.source_length:
            return self.resampling.length
        own = min(self.resampling.length, math.ceil(stop / self.resampling.scale))
        while own > self._first and self.resampling.source_span(own - 1, own)[1] > stop:
            own -= 1
        return own

    def _complete_from(self, start: int) -> int:
        """Return the first own pixel that is made of working pixels from here on alone."""
        if start == 0:
            return 0
        own = math.floor(start / self.resampling.scale)
        while own < self.resampling.length - 1 and self.resampling.source_span(own, own + 1)[0] < start:
            own += 1
        return own
