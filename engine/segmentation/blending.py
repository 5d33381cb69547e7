"""Sum the scores of overlapping tiles, weighted towards their centres, in memory that the raster's height does not change.

Rows of tiles come one after the other, each from left to right. What no later tile adds to leaves at once; of the sums that
the next row of tiles adds to, one strip as wide as the raster is carried along. It takes 4 bytes for each plane of scores,
column of the raster and row that two rows of tiles share.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from engine.raster.resampling import resample
from engine.segmentation.axis_plan import AxisPlan


class Block(NamedTuple):
    """Sums that are complete.

    Attributes:
        rows: half-open span in the raster's own pixels; may be empty.
        columns: the same.
        sums: of the working pixels that these are made of, (planes, h, w) float32; None where no tile gave any.
        weights: what makes the raster's own rows, and its columns, of working pixels; None where they are the same.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    sums: np.ndarray | None
    weights: tuple[csr_matrix, csr_matrix] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in the raster's own pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Half-open ``(col0, row0, col1, row1)``."""
        return self.columns[0], self.rows[0], self.columns[1], self.rows[1]

    def scores(self) -> np.ndarray | None:
        """Return the (planes, H, W) float32 sums in the raster's own pixels; None where no tile gave any."""
        return self.sums if self.sums is None or self.weights is None else resample(self.sums, *self.weights)


class ScoreBlender:
    """Take the scores of tiles in row-major order, and give back what is complete after each."""

    def __init__(self, rows: AxisPlan, columns: AxisPlan, *, planes: int, first_row: int = 0) -> None:
        """Begin.

        Args:
            rows: the plan of the rows of tiles.
            columns: that of their columns.
            planes: of scores for each pixel.
            first_row: row of tiles to begin with; what earlier ones would have added is missing in what it completes.
        """
        self._rows, self._columns, self._planes = rows, columns, planes
        self._first_row = first_row
        self._left_edge = columns.start(0)
        width = columns.stop(len(columns) - 1) - self._left_edge
        later = range(first_row + 1, len(rows))
        height = max((rows.stop(row - 1) - rows.needed_from(row) for row in later), default=0)
        self._carried = np.zeros((planes, height, width), np.float32)
        self._is_carried = np.zeros(width, bool)  # columns in which anything is
        self._left: np.ndarray | None = None  # sums of the row so far that the next tile adds to

    def add(self, row: int, column: int, scores: np.ndarray | None) -> Block:
        """Add a tile, and return what is complete with it.

        Args:
            row: of tiles.
            column: of tiles.
            scores: (planes, tile height, tile width) float32; None where the tile was not seen.
        """
        top, left = self._rows.needed_from(row), self._columns.needed_from(column)
        sums = self._begun(row, column, top, left)
        if scores is not None:
            if sums is None:
                sums = np.zeros((self._planes, self._rows.stop(row) - top, self._columns.stop(column) - left), np.float32)
            weights = self._rows.weights(row)[:, None] * self._columns.weights(column)
            for plane, seen in zip(sums[:, -self._rows.tile :, -self._columns.tile :], scores, strict=True):
                plane += weights * seen
        self._carry_on(row, column, sums, top, left)
        return self._completed(row, column, sums, top, left)

    def _begun(self, row: int, column: int, top: int, left: int) -> np.ndarray | None:
        """Return the sums that earlier tiles left for this one, from the pixel at ``top`` and ``left`` on; None if none did."""
        right = self._columns.stop(column)
        fresh = self._columns.stop(column - 1) if column else left  # from here on the row above is all there is
        new = slice(fresh - self._left_edge, right - self._left_edge)
        above = row > self._first_row and self._is_carried[new].any()
        if self._left is None and not above:
            return None
        sums = np.zeros((self._planes, self._rows.stop(row) - top, right - left), np.float32)
        if self._left is not None:
            sums[:, :, : fresh - left] = self._left
        if above:
            height = self._rows.stop(row - 1) - top
            sums[:, :height, fresh - left :] = self._carried[:, :height, new]
        return sums

    def _carry_on(self, row: int, column: int, sums: np.ndarray | None, top: int, left: int) -> None:
        """Leave sums for the next tile and for the next row of tiles, whose strip takes the place of this row's."""
        next_left = self._columns.needed_from(column + 1)
        is_last = column + 1 == len(self._columns)
        self._left = None if sums is None or is_last else sums[:, :, next_left - left :].copy()
        if row + 1 < len(self._rows):
            done = slice(left - self._left_edge, next_left - self._left_edge)
            self._is_carried[done] = sums is not None
            if sums is not None:
                below = sums[:, self._rows.needed_from(row + 1) - top :, : next_left - left]
                self._carried[:, : below.shape[1], done] = below

    def _completed(self, row: int, column: int, sums: np.ndarray | None, top: int, left: int) -> Block:
        rows, columns = self._rows.output(row), self._columns.output(column)
        if sums is None or rows[0] == rows[1] or columns[0] == columns[1]:
            return Block(rows, columns, None, None)
        along = ((self._rows, rows, top), (self._columns, columns, left))
        spans = [(plan.resampling.source_span(*own), origin) for plan, own, origin in along]
        place = tuple(slice(low - origin, high - origin) for (low, high), origin in spans)
        is_same = all(plan.resampling.is_identity for plan, _, _ in along)
        weights = None if is_same else tuple(plan.resampling.weights(*own) for plan, own, _ in along)
        return Block(rows, columns, sums[(slice(None), *place)], weights)
