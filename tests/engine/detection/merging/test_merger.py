"""Joining at the seams: exact with a predictor that makes no mistakes, independent of order with any."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize, shapes
from scipy import ndimage

from engine.detection.instances import Instances
from engine.detection.merging.merger import InstanceMerger
from engine.detection.merging.tile_instances import Building, TileInstance, disjoint, tile_instances_of
from engine.detection.polygons.tracing import polygons_of
from engine.errors import ArgumentError
from engine.raster.tile_grid import Tile, TileGrid
from tests.engine.detection.label_towns import (
    TOWNS,
    fingerprint,
    join,
    known_instances,
    known_tile_instances,
    label_fingerprint,
    mistaken,
    spiral,
)


def grid_of(labels: np.ndarray, tile_size: int, overlap: int) -> TileGrid:
    height, width = labels.shape
    return TileGrid(width, height, tile_size=tile_size, overlap=overlap)


def assert_exact(labels: np.ndarray, tile_size: int, overlap: int, seed: int = 0) -> None:
    grid = grid_of(labels, tile_size, overlap)
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(grid))]
    buildings = join(grid, known_tile_instances(labels, grid), order)
    assert len(buildings) == len(np.unique(labels[labels > 0]))
    assert fingerprint(buildings) == label_fingerprint(labels)


@settings(max_examples=60)
@given(
    town=st.sampled_from(sorted(TOWNS)),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile_size=st.integers(33, 96),
    stride=st.integers(24, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_known_instances_come_back_exactly(town: str, height: int, width: int, tile_size: int, stride: int, seed: int) -> None:
    labels = TOWNS[town](np.random.default_rng(seed), height, width)
    assert_exact(labels, tile_size, max(tile_size - stride, 1), seed)


@pytest.mark.parametrize("overlap", [32, 48])
def test_a_spiral_through_many_tiles_is_one_building(overlap: int) -> None:
    assert_exact(spiral(200, 5), 64, overlap)


@pytest.mark.parametrize("thickness", [1, 40])
def test_an_l_longer_than_two_tiles_is_one_building(thickness: int) -> None:
    labels = np.zeros((300, 300), dtype=np.int32)
    labels[10:290, 20 : 20 + thickness] = 1
    labels[290 - thickness : 290, 20:280] = 1
    assert_exact(labels, 96, 32)


def test_legs_that_meet_in_another_tile_are_one_building_even_where_one_lies_outside_the_overlap() -> None:
    labels = np.zeros((128, 160), dtype=np.int32)
    labels[5:100, 10:20] = 1
    labels[5:100, 80:90] = 1
    labels[95:105, 10:90] = 1
    assert_exact(labels, 96, 32)
    # The bar lies outside the first tile, which shows the legs as two parts of one instance.
    assert_exact(labels, 94, 32)


def test_buildings_in_the_corners_one_pixel_none_and_everything() -> None:
    corners = np.zeros((150, 170), dtype=np.int32)
    for number, corner in enumerate([(0, 0), (0, -1), (-1, 0), (-1, -1)], 1):
        corners[corner] = number
    corners[70, 90] = 5
    assert_exact(corners, 64, 32)
    assert_exact(np.zeros((150, 170), dtype=np.int32), 64, 32)
    assert_exact(np.ones((150, 170), dtype=np.int32), 64, 32)
    assert_exact(np.ones((1, 1), dtype=np.int32), 64, 32)


def test_a_row_of_houses_with_common_walls_stays_a_row() -> None:
    labels = np.repeat(np.arange(1, 41, dtype=np.int32), 7)[None].repeat(90, axis=0)
    labels[:20] = labels[70:] = 0
    for tile_size, overlap in [(64, 32), (70, 33), (256, 64)]:
        assert_exact(labels, tile_size, overlap)


@pytest.mark.parametrize(("tile_size", "overlap"), [(512, 32), (300, 64)])
def test_the_buildings_of_a_real_town_come_back_exactly(shared_data: Path, tile_size: int, overlap: int) -> None:
    """Many touch. Where one was drawn over another, what is left of that may have several parts; each is a polygon."""
    with rasterio.open(shared_data / "banepa" / "image.tif") as image:
        buildings = geopandas.read_file(shared_data / "banepa" / "buildings.gpkg").to_crs(image.crs)
        labels = rasterize(
            zip(buildings.geometry, range(1, len(buildings) + 1), strict=True),
            out_shape=image.shape,
            transform=image.transform,
            dtype="int32",
        )
    expected = sorted(
        (value, shapely.geometry.shape(geometry).normalize().wkb) for geometry, value in shapes(labels, mask=labels > 0)
    )
    grid = grid_of(labels, tile_size, overlap)
    order = [int(i) for i in np.random.default_rng(0).permutation(len(grid))]
    joined = join(grid, known_tile_instances(labels, grid), order)
    found = []
    for b, polygons in zip(joined, polygons_of(joined), strict=True):
        value = labels[b.row : b.row + b.mask.shape[0], b.col : b.col + b.mask.shape[1]][b.mask][0]
        found += [(value, polygon.normalize().wkb) for polygon in polygons]
    assert sorted(found) == expected
    assert len(found) >= 900


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), tile_size=st.integers(48, 90), overlap=st.integers(16, 36))
def test_order_and_moments_of_taking_change_nothing_whatever_the_predictor_says(
    seed: int, tile_size: int, overlap: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = TOWNS["shapes"](rng, 150, 150)
    grid = grid_of(labels, tile_size, overlap)
    tile_instances = [mistaken(rng, of_tile) for of_tile in known_tile_instances(labels, grid)]
    expected = join(grid, tile_instances, list(range(len(grid))), ready_every=10**9)
    assert_disjoint(expected, labels.shape)
    for ready_every in (1, 3):
        order = [int(i) for i in rng.permutation(len(grid))]
        shuffled = [list(rng.permutation(np.array([*of_tile, None], dtype=object)[:-1])) for of_tile in tile_instances]
        again = join(grid, shuffled, order, ready_every=ready_every)
        assert len(again) == len(expected)
        assert fingerprint(again) == fingerprint(expected)


def assert_disjoint(buildings: list[Building], shape: tuple[int, int]) -> None:
    claims = np.zeros(shape, dtype=int)
    for b in buildings:
        claims[b.row : b.row + b.mask.shape[0], b.col : b.col + b.mask.shape[1]] += b.mask
    assert claims.max(initial=0) <= 1


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_houses_blurred_near_the_borders_neither_merge_nor_multiply(seed: int) -> None:
    """Masks lose or gain a pixel within reach of a tile's border, scores vary: the same houses, within that pixel."""
    rng = np.random.default_rng(seed)
    labels = terraces(rng)
    grid = grid_of(labels, 96, 40)
    tile_instances = [blurred(rng, labels, tile) for tile in grid]
    buildings = join(grid, tile_instances, [int(i) for i in rng.permutation(len(grid))])
    assert_disjoint(buildings, labels.shape)
    assert len(buildings) == labels.max()
    found = set()
    for b in buildings:
        shown = labels[b.row : b.row + b.mask.shape[0], b.col : b.col + b.mask.shape[1]][b.mask]
        counts = np.bincount(shown, minlength=2)
        house = int(counts[1:].argmax()) + 1
        assert counts[house] > 0.75 * np.count_nonzero(labels == house)
        assert counts[house] > 0.75 * counts.sum()
        found.add(house)
    assert len(found) == labels.max()


def terraces(rng: np.random.Generator) -> np.ndarray:
    """Rows of touching houses, 10 to 24 pixels wide and 14 deep, two rows back to back now and then."""
    labels = np.zeros((220, 220), dtype=np.int32)
    number, row = 0, int(rng.integers(0, 20))
    while row + 14 < 220:
        col = int(rng.integers(0, 20))
        while col + 10 < 210:
            width = int(rng.integers(10, 25))
            number += 1
            labels[row : row + 14, col : col + width] = number
            col += width + int(rng.choice([0, 0, 0, 6]))
        row += 14 + int(rng.choice([0, 8, 15]))
    return labels


def blurred(rng: np.random.Generator, labels: np.ndarray, tile: Tile) -> list[TileInstance]:
    """Read a tile with masks a pixel too wide or too narrow near its borders, and scores at random."""
    truth = known_instances(labels, tile)
    masks = truth.masks.copy()
    near = np.zeros(masks.shape[1:], dtype=bool)
    near[:6] = near[-6:] = near[:, :6] = near[:, -6:] = True
    for index, mask in enumerate(masks):
        wider = ndimage.binary_dilation(mask)
        narrower = ndimage.binary_erosion(mask, border_value=1)
        masks[index] = np.where(near, wider if rng.random() < 0.5 else narrower, mask)
    scores = np.clip(truth.scores + rng.uniform(-0.2, 0.1, len(masks)), 0, 1).astype(np.float32)
    return tile_instances_of(tile, replace(truth, masks=masks, scores=scores))


def two_tiles() -> TileGrid:
    return TileGrid(160, 96, tile_size=96, overlap=32)


def instance(tile: Tile, rows: slice, cols: slice, score: float = 0.9) -> TileInstance:
    mask = np.zeros((96, 160), dtype=bool)
    mask[rows, cols] = True
    shown = mask[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
    (made,) = tile_instances_of(tile, Instances(np.array([score]), np.array([0]), shown[None]))
    return made


def test_a_blob_over_two_cut_houses_joins_neither() -> None:
    grid = two_tiles()
    for wall in (40, 36):
        houses = [instance(grid[0], slice(20, wall), slice(50, 110)), instance(grid[0], slice(wall, 60), slice(50, 110))]
        blob = instance(grid[1], slice(20, 60), slice(50, 110), score=0.8)
        buildings = join(grid, [houses, [blob]], [1, 0])
        assert_disjoint(buildings, (96, 160))
        for b in buildings:
            spans = np.zeros((96, 160), dtype=bool)
            spans[b.row : b.row + b.mask.shape[0], b.col : b.col + b.mask.shape[1]] = b.mask
            assert not (spans[20:wall, :96].any() and spans[wall:60, :96].any())


def test_a_strip_of_a_row_never_outranks_the_whole_houses() -> None:
    grid = two_tiles()
    houses = [instance(grid[0], slice(0, 48), slice(30, 67), 0.6), instance(grid[0], slice(48, 96), slice(30, 67), 0.6)]
    strip = instance(grid[1], slice(0, 96), slice(30, 67), 0.99)
    assert fingerprint(join(grid, [houses, [strip]], [1, 0])) == fingerprint(join(grid, [houses, []], [0, 1]))


def test_a_strip_that_the_tile_across_the_border_does_not_see_is_no_building() -> None:
    grid = two_tiles()
    strip = instance(grid[1], slice(20, 60), slice(50, 74))
    most_of_a_house = instance(grid[1], slice(20, 60), slice(50, 94))
    assert join(grid, [[], [strip]], [0, 1]) == []
    assert len(join(grid, [[], [most_of_a_house]], [0, 1])) == 1
    # Before the other tile has spoken, nothing is known against it.
    merger = InstanceMerger(grid)
    merger.add(grid[1], [strip])
    assert merger.ready() == []
    assert len(merger.finish()) == 1


def test_the_same_house_seen_twice_is_the_better_view_of_it() -> None:
    grid = two_tiles()
    first = instance(grid[0], slice(20, 40), slice(72, 90), 0.7)
    second = instance(grid[1], slice(21, 40), slice(72, 90), 0.8)
    (building,) = join(grid, [[first], [second]], [0, 1])
    assert (building.row, building.score) == (21, 0.8)


def test_the_score_of_a_long_building_is_the_mean_by_area() -> None:
    grid = two_tiles()
    first, second = instance(grid[0], slice(20, 40), slice(0, 160), 0.6), instance(grid[1], slice(20, 40), slice(0, 160), 0.8)
    (building,) = join(grid, [[first], [second]], [0, 1])
    assert building.mask.shape == (20, 160)
    assert building.score == pytest.approx(0.7)


def test_duplicates_in_one_tile_go_and_contested_pixels_belong_to_the_better() -> None:
    tile = two_tiles()[0]
    best = instance(tile, slice(10, 30), slice(10, 30), 0.9)
    again = instance(tile, slice(11, 31), slice(10, 30), 0.8)
    neighbour = instance(tile, slice(10, 30), slice(28, 50), 0.7)
    kept = disjoint([neighbour, again, best])
    assert [(p.score, p.bounds) for p in kept] == [(0.7, (30, 10, 50, 30)), (0.9, (10, 10, 30, 30))]


def test_buildings_leave_as_soon_as_no_tile_can_change_them() -> None:
    labels = TOWNS["cells"](np.random.default_rng(1), 40, 600)
    grid = grid_of(labels, 64, 32)
    tile_instances = known_tile_instances(labels, grid)
    merger = InstanceMerger(grid)
    early = 0
    for tile in grid[: len(grid) // 2]:
        merger.add(tile, tile_instances[tile.index])
        early += len(merger.ready())
    seen_whole = [n for n in np.unique(labels) if not (labels[:, grid[len(grid) // 2].col :] == n).any()]
    assert early == len(seen_whole) > 0


def test_memory_holds_the_front_not_the_raster() -> None:
    labels = TOWNS["cells"](np.random.default_rng(1), 40, 60)
    labels = np.concatenate([labels + n * labels.max() for n in range(30)], axis=1)
    grid = grid_of(labels, 64, 32)
    rng = np.random.default_rng(2)
    merger = InstanceMerger(grid)
    living: list[weakref.ref[TileInstance]] = []
    most = 0
    gc.disable()
    try:
        for tile in grid:
            tile_instances = disjoint(mistaken(rng, tile_instances_of(tile, known_instances(labels, tile))))
            merger.add(tile, tile_instances)
            living = [reference for reference in living if reference() is not None] + [weakref.ref(p) for p in tile_instances]
            del tile_instances
            merger.ready()
            most = max(most, sum(reference() is not None for reference in living))
        merger.finish()
        assert not any(reference() is not None for reference in living)
    finally:
        gc.enable()
    assert most < 200  # of some two thousand


def test_a_tile_is_added_once() -> None:
    grid = two_tiles()
    merger = InstanceMerger(grid)
    merger.skip(grid[0])
    with pytest.raises(ArgumentError, match="Tile 0 was added twice"):
        merger.add(grid[0], [])
