"""A tile grid covers every pixel, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ArgumentError
from engine.raster.tile_grid import TileGrid

on_many_grids = settings(max_examples=60, deadline=None)


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    tile_size = draw(st.integers(1, 40))
    return TileGrid(
        draw(st.integers(1, 60)),
        draw(st.integers(1, 60)),
        tile_size=tile_size,
        overlap=draw(st.integers(0, max(0, tile_size - 6))),
        origin=(draw(st.integers(0, 50)), draw(st.integers(0, 50))),
    )


@on_many_grids
@given(grids())
def test_every_pixel_lies_in_a_tile_and_no_tile_sticks_out(grid: TileGrid) -> None:
    col, row = grid.origin
    seen = np.zeros((row + grid.height, col + grid.width), bool)
    for tile in grid:
        col0, row0, col1, row1 = tile.bounds
        assert col <= col0 and row <= row0
        assert col1 <= col + grid.width and row1 <= row + grid.height
        assert (tile.width, tile.height) == (min(grid.width, grid.tile_size), min(grid.height, grid.tile_size))
        seen[row0:row1, col0:col1] = True
    assert seen[row:, col:].all()


@on_many_grids
@given(grids())
def test_neighbours_share_at_least_the_overlap_and_none_is_repeated(grid: TileGrid) -> None:
    cols = sorted({tile.col for tile in grid})
    assert len({(tile.col, tile.row) for tile in grid}) == len(grid) == grid.rows * grid.columns
    for left, right in pairwise(cols):
        assert left + grid.tile_size - right >= grid.overlap


@on_many_grids
@given(grids())
def test_order_is_row_major_and_indices_find_their_tile(grid: TileGrid) -> None:
    tiles = list(grid)
    assert tiles == sorted(tiles, key=lambda tile: (tile.row, tile.col))
    assert [tile.index for tile in tiles] == list(range(len(grid)))
    assert all(grid[tile.index] == tile for tile in tiles)
    assert grid[-1] == tiles[-1]


@on_many_grids
@given(grids(), st.tuples(*[st.integers(-10, 180)] * 4))
def test_tiles_meeting_agrees_with_looking_at_each(grid: TileGrid, box: tuple[int, int, int, int]) -> None:
    col0, row0, col1, row1 = box
    expected = [
        tile.index
        for tile in grid
        if min(col1, tile.bounds[2]) > max(col0, tile.col) and min(row1, tile.bounds[3]) > max(row0, tile.row)
    ]
    assert grid.tiles_meeting(*box) == expected


@on_many_grids
@given(grids())
def test_inner_sides_are_those_with_ground_beyond(grid: TileGrid) -> None:
    bounds = np.array([tile.bounds for tile in grid])
    far = np.array([1, 1, -1, -1])
    for tile in grid:
        beyond = (bounds * far < np.array(tile.bounds) * far).any(axis=0)
        assert list(grid.inner_sides(tile)) == beyond.tolist()


def test_a_raster_smaller_than_a_tile_is_one_tile_of_its_own_size() -> None:
    grid = TileGrid(7, 3, tile_size=512, overlap=64)
    assert [tile.bounds for tile in grid] == [(0, 0, 7, 3)]
    assert grid.inner_sides(grid[0]) == (False, False, False, False)


def test_the_last_column_is_anchored_at_the_edge() -> None:
    grid = TileGrid(100, 32, tile_size=32, overlap=8)
    assert [tile.col for tile in grid] == [0, 24, 48, 68]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"overlap": 32}, "overlap is 32"),
        ({"overlap": -1}, "overlap is -1"),
        ({"tile_size": 0, "overlap": 0}, "tile_size is 0"),
        ({"width": 0}, "width 0"),
        ({"height": -3}, "height -3"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(arguments: dict[str, int], named: str) -> None:
    values = {"width": 100, "height": 100, "tile_size": 32, "overlap": 8} | arguments
    with pytest.raises(ArgumentError, match=named):
        TileGrid(values.pop("width"), values.pop("height"), **values)


def test_to_map_is_the_affine_and_keeps_shared_edges_shared() -> None:
    transform = Affine(0.3, 0.1, 500_000.123, 0.1, -0.3, 3_900_000.456)
    grid = TileGrid(100, 100, tile_size=50, overlap=10, transform=transform)
    left, right = grid.to_map([shapely.box(0, 0, 7, 5), shapely.box(7, 0, 11, 5)])
    assert left.exterior.coords[0] == pytest.approx((500_002.223, 3_900_001.156), abs=1e-9)
    assert len(set(left.exterior.coords) & set(right.exterior.coords)) == 2


def test_without_a_transform_map_coordinates_are_pixels() -> None:
    grid = TileGrid(10, 10, tile_size=5, overlap=1)
    assert shapely.equals_exact(grid.to_map(shapely.box(1, 2, 3, 4)), shapely.box(1, 2, 3, 4))


def test_a_grid_takes_no_memory_by_its_size() -> None:
    grid = TileGrid(2**31 - 1, 2**31 - 1, tile_size=512, overlap=128)
    assert len(grid) == grid.columns**2
    last = grid[len(grid) - 1]
    assert last.bounds[2:] == (2**31 - 1, 2**31 - 1)
    middle = grid[len(grid) // 2]
    assert middle.index in grid.tiles_meeting(*middle.bounds)
    assert len(grid.tiles_meeting(*middle.bounds)) == 9


@given(st.integers(1, 3000), st.integers(1, 300), st.data())
def test_tiles_that_are_spread_evenly_cover_all_and_share_about_the_same(length, tile_size, data):
    overlap = data.draw(st.integers(0, tile_size - 1))
    anchored = TileGrid(length, length, tile_size=tile_size, overlap=overlap)
    even = TileGrid(length, length, tile_size=tile_size, overlap=overlap, even=True)
    assert len(even) == len(anchored)
    starts = list(even.column_starts)
    assert starts[0] == 0 and starts[-1] == max(0, length - tile_size)
    steps = np.diff(starts)
    if len(steps):
        assert steps.max() <= tile_size - overlap and steps.max() - steps.min() <= 1
