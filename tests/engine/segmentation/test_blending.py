"""What leaves the blender is the weighted sum over all tiles, as if the whole raster had been held in memory at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.raster.resampling import AxisResampling, resample
from engine.raster.tile_grid import TileGrid
from engine.segmentation.axis_plan import AxisPlan
from engine.segmentation.blending import ScoreBlender

PLANES = 2


def plans(grid: TileGrid, *, raster: tuple[int, int], own: tuple[int, int]) -> tuple[AxisPlan, AxisPlan]:
    tile = grid[0]
    return (
        AxisPlan(grid.row_starts, tile.height, resampling=AxisResampling(raster[0], own[0])),
        AxisPlan(grid.column_starts, tile.width, resampling=AxisResampling(raster[1], own[1])),
    )


def all_at_once(grid: TileGrid, scores: dict[int, np.ndarray], *, raster, own) -> np.ndarray:
    """Blend in one array of the whole raster, in float64: weights by distance to the tile's edge, divided by their sum."""
    sums, total = np.zeros((PLANES, *raster)), np.zeros(raster)
    for tile in grid:
        heights, widths = (np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) for n in (tile.height, tile.width))
        place = np.s_[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
        total[place] += np.outer(heights, widths)
        if tile.index in scores:
            sums[(slice(None), *place)] += np.outer(heights, widths) * scores[tile.index]
    sums /= np.where(total, total, 1)
    rows, columns = (AxisResampling(*lengths).weights(0, lengths[1]) for lengths in zip(raster, own, strict=True))
    return resample(sums.astype(np.float32), rows, columns)


def blended(grid: TileGrid, scores: dict[int, np.ndarray], *, raster, own, first_row: int = 0) -> np.ndarray:
    """Blend tile after tile; what no block covered stays NaN, and what two cover is an error."""
    rows, columns = plans(grid, raster=raster, own=own)
    blender = ScoreBlender(rows, columns, planes=PLANES, first_row=first_row)
    result = np.full((PLANES, *own), np.nan, np.float32)
    for tile in grid[first_row * grid.columns :]:
        row, column = divmod(tile.index, grid.columns)
        block = blender.add(row, column, scores.get(tile.index))
        place = np.s_[:, slice(*block.rows), slice(*block.columns)]
        assert np.isnan(result[place]).all()
        result[place] = 0 if (found := block.scores()) is None else found
    return result


@st.composite
def cases(draw):
    raster = draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    tile_size = draw(st.integers(1, 24))
    overlap = draw(st.integers(0, tile_size - 1))
    scale = draw(st.sampled_from([1.0, 0.5, 0.8, 1.7, 3.0]))
    own = tuple(max(1, round(length * scale)) for length in raster)
    low = [draw(st.integers(0, length // 3)) for length in raster]
    size = [draw(st.integers(1, length - start)) for length, start in zip(raster, low, strict=True)]
    grid = TileGrid(size[1], size[0], tile_size=tile_size, overlap=overlap, origin=(low[1], low[0]), even=draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    seen = rng.random(len(grid)) < draw(st.sampled_from([1.0, 0.6, 0.0]))
    shape = (PLANES, grid[0].height, grid[0].width)
    scores = {tile.index: rng.random(shape).astype(np.float32) for tile in grid if seen[tile.index]}
    return grid, scores, {"raster": raster, "own": own}


@settings(max_examples=150)
@given(cases())
def test_it_is_the_weighted_sum_over_all_tiles(case):
    grid, scores, sizes = case
    result, expected = blended(grid, scores, **sizes), all_at_once(grid, scores, **sizes)
    covered = ~np.isnan(result)
    np.testing.assert_allclose(result[covered], expected[covered], atol=1e-5)
    if (grid.width, grid.height) == sizes["raster"][::-1]:
        assert covered.all()
    rows, columns = plans(grid, **sizes)
    inside = np.zeros(sizes["own"], bool)
    inside[slice(*rows.whole_output()), slice(*columns.whole_output())] = True
    assert np.array_equal(covered, np.broadcast_to(inside, covered.shape))


@settings(max_examples=80)
@given(cases(), st.data())
def test_what_is_complete_from_a_row_on_needs_few_rows_above_it(case, data):
    """To the last bit: a run that goes on ends with the bytes of an unbroken one."""
    grid, scores, sizes = case
    rows, _ = plans(grid, **sizes)
    done = data.draw(st.integers(0, grid.rows - 1))
    first = rows.first_adding_to(done)
    assert first <= done
    below = np.s_[:, rows.output(done)[0] :]
    again, whole = blended(grid, scores, **sizes, first_row=first), blended(grid, scores, **sizes)
    np.testing.assert_array_equal(again[below], whole[below])


@given(st.integers(1, 80), st.integers(1, 30), st.data())
def test_weights_add_up_to_one_and_rise_towards_the_centre(length, tile_size, data):
    overlap = data.draw(st.integers(0, tile_size - 1))
    grid = TileGrid(length, 1, tile_size=tile_size, overlap=overlap, even=True)
    plan = AxisPlan(grid.column_starts, grid[0].width, resampling=AxisResampling(length, length))
    total = np.zeros(length)
    for number in range(len(plan)):
        total[plan.start(number) : plan.stop(number)] += plan.weights(number)
        assert plan.weights(number).min() > 0
    np.testing.assert_allclose(total, 1, atol=1e-6)
    if len(plan) > 1 and overlap >= 2:
        shared = plan.weights(0)[plan.start(1) :]
        assert (np.diff(shared[: overlap // 2]) <= 1e-7).all()  # the first tile gives way to the second, without a step


@pytest.mark.parametrize(("width", "overlap"), [(3000, 64), (999, 100), (257, 0)])
def test_memory_is_that_of_the_rows_that_tiles_share(width, overlap):
    """And not that of the raster's height, nor of all the rows of a tile."""
    strips = []
    for height in (2000, 20_000):
        grid = TileGrid(width, height, tile_size=256, overlap=overlap, even=True)
        rows, columns = plans(grid, raster=(height, width), own=(height, width))
        strips.append(ScoreBlender(rows, columns, planes=3)._carried.shape)
    assert strips[1][2] == width and all(strip[1] <= overlap + 256 / 6 for strip in strips)
