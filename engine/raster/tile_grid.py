"""Cut the working grid into overlapping tiles, and turn its pixels into map coordinates."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
import shapely
from affine import Affine
from rasterio.windows import Window

from engine.errors import ArgumentError


@dataclass(frozen=True)
class Tile:
    """A rectangle of the working grid, in whole pixels; smaller than the tile size only where the grid itself is.

    Attributes:
        index: place in the row-major order of its grid.
        col: column of the left-most pixel in the working grid.
        row: row of the top-most pixel in the working grid.
        width: columns of the raster that it shows.
        height: rows of the raster that it shows.
    """

    index: int
    col: int
    row: int
    width: int
    height: int

    @property
    def window(self) -> Window:
        """The tile as a rasterio window of the working grid."""
        return Window(self.col, self.row, self.width, self.height)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Half-open pixel bounds ``(col0, row0, col1, row1)``."""
        return self.col, self.row, self.col + self.width, self.row + self.height


class Sides(NamedTuple):
    """One bool for each side of a tile."""

    left: bool
    top: bool
    right: bool
    bottom: bool


class TileGrid(Sequence[Tile]):
    """The tiles that cover a rectangle of the working grid, in row-major order.

    Neighbours share ``overlap`` pixels; the last row and column are anchored at the far edge, so they share more, and
    no pixel is left over; or the tiles are spread evenly, so that all share a little more. A side that is shorter than a tile
    gets one tile of the side's own length, which whoever reads it pads.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        tile_size: int,
        overlap: int,
        origin: tuple[int, int] = (0, 0),
        transform: Affine | None = None,
        even: bool = False,
    ) -> None:
        """Lay out the tiles.

        Args:
            width: columns of the rectangle to cover.
            height: rows of the rectangle to cover.
            tile_size: side of a tile in pixels.
            overlap: pixels shared by neighbours, from 0 to ``tile_size - 1``.
            origin: column and row of the rectangle's top-left pixel; not (0, 0) where only a part is worked on.
                Tiles always speak the coordinates of the whole working grid.
            transform: affine of the whole working grid; None leaves ``to_map`` in pixel coordinates.
            even: spread the tiles evenly.

        Raises:
            ArgumentError: a size that is not positive, or an overlap that leaves no way forward.
        """
        if width < 1 or height < 1:
            raise ArgumentError(f"There is nothing to cut into tiles: width {width}, height {height}.")
        if tile_size < 1:
            raise ArgumentError(f"tile_size is {tile_size}.", hint="Give a number of pixels of at least 1.")
        if not 0 <= overlap < tile_size:
            raise ArgumentError(
                f"overlap is {overlap} with tiles of {tile_size} pixels.",
                hint=f"Give an overlap from 0 to {tile_size - 1}.",
            )
        self.width = width
        self.height = height
        self.tile_size = tile_size
        self.overlap = overlap
        self.origin = origin
        self.transform = Affine.identity() if transform is None else transform
        self._cols = _Starts(origin[0], width, tile_size, overlap, even=even)
        self._rows = _Starts(origin[1], height, tile_size, overlap, even=even)
        self._tile_width = min(width, tile_size)
        self._tile_height = min(height, tile_size)

    @property
    def columns(self) -> int:
        """Number of tiles side by side."""
        return len(self._cols)

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return len(self._rows)

    @property
    def column_starts(self) -> Sequence[int]:
        """The first pixel column of each column of tiles."""
        return self._cols

    @property
    def row_starts(self) -> Sequence[int]:
        """The first pixel row of each row of tiles."""
        return self._rows

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Half-open pixel bounds ``(col0, row0, col1, row1)`` of all the tiles together."""
        col, row = self.origin
        return col, row, col + self.width, row + self.height

    def __len__(self) -> int:
        return len(self._cols) * len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Tile: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tile]: ...

    def __getitem__(self, index: int | slice) -> Tile | list[Tile]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of a grid of {len(self)}")
        index %= len(self)
        row, col = divmod(index, len(self._cols))
        return Tile(index, self._cols[col], self._rows[row], self._tile_width, self._tile_height)

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def tiles_meeting(self, col0: float, row0: float, col1: float, row1: float) -> list[int]:
        """Return the indices, in order, of the tiles that share ground with the half-open rectangle of pixels."""
        cols = _spans_meeting(self._cols, self._tile_width, col0, col1)
        rows = _spans_meeting(self._rows, self._tile_height, row0, row1)
        return [row * len(self._cols) + col for row in rows for col in cols]

    def inner_sides(self, tile: Tile) -> Sides:
        """Return which sides of a tile lie inside the grid, where a building may go on; the others are its edge."""
        col0, row0, col1, row1 = tile.bounds
        left, top, right, bottom = self.bounds
        return Sides(left=col0 > left, top=row0 > top, right=col1 < right, bottom=row1 < bottom)

    def to_map(self, geometries: Any) -> Any:
        """Turn geometries in working-grid pixels (corner of the top-left pixel: 0, 0) into map coordinates.

        The arithmetic is that of the affine in float64, with no intermediate rounding: equal pixels give equal
        coordinates, so neighbours that share an edge keep sharing it.
        """
        a, b, c, d, e, f = self.transform[:6]

        def apply(points: np.ndarray) -> np.ndarray:
            x, y = points[:, 0], points[:, 1]
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

        return shapely.transform(geometries, apply)


class _Starts(Sequence[int]):
    """Where the tiles start along one side, the last one so that it ends at the far edge. A raster may claim any length."""

    def __init__(self, first: int, length: int, tile_size: int, overlap: int, *, even: bool) -> None:
        self._first, self._last, self._step = first, max(length - tile_size, 0), tile_size - overlap
        self._even = even

    def __len__(self) -> int:
        return -(-self._last // self._step) + 1

    def __getitem__(self, number: int) -> int:
        if not 0 <= number < len(self):
            raise IndexError(number)
        if self._even and self._last:
            return self._first + self._last * number // (len(self) - 1)
        return self._first + min(number * self._step, self._last)


def _spans_meeting(starts: Sequence[int], length: int, low: float, high: float) -> range:
    """Return which of the spans ``start .. start + length`` overlap ``low .. high`` by more than a border."""
    if not high > low:
        return range(0)
    return range(bisect_right(starts, low - length), bisect_left(starts, high))
