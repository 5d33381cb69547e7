"""Joining objects of several classes: an object has one class, whichever tiles see it and in whichever order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.detection.instances import Instances
from engine.detection.merging.tile_instances import (
    Building,
    TileInstance,
    disjoint,
    is_same_object,
    shared_pixels,
    tile_instances_of,
)
from engine.raster.tile_grid import Tile, TileGrid
from tests.engine.detection.label_towns import TOWNS, fingerprint, join, known_tile_instances, label_fingerprint, mistaken

CAR, TRUCK = 0, 1


@settings(max_examples=30)
@given(
    town=st.sampled_from(sorted(TOWNS)),
    classes=st.integers(2, 4),
    tile_size=st.integers(33, 96),
    stride=st.integers(24, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_known_objects_come_back_exactly_with_their_classes(
    town: str, classes: int, tile_size: int, stride: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = TOWNS[town](rng, 120, 140)
    grid = TileGrid(140, 120, tile_size=tile_size, overlap=max(tile_size - stride, 1))
    order = [int(i) for i in rng.permutation(len(grid))]
    found = join(grid, known_tile_instances(labels, grid, classes), order)
    assert fingerprint(found) == label_fingerprint(labels, classes=classes)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), tile_size=st.integers(48, 90), overlap=st.integers(16, 36))
def test_objects_that_lie_on_one_another_all_come_back_whole(seed: int, tile_size: int, overlap: int) -> None:
    """Roofs, and panels on and between them; views that show a roof and a panel as one and the same are another matter."""
    rng = np.random.default_rng(seed)
    roofs = TOWNS["shapes"](rng, 120, 120)
    panels = np.zeros_like(roofs)
    for number in range(1, 12):
        row, col = (int(start) for start in rng.integers(0, 115, 2))
        panels[row : row + 4, col : col + 3] = number
    grid = TileGrid(120, 120, tile_size=tile_size, overlap=overlap)
    views = zip(known_tile_instances(roofs, grid), known_tile_instances(panels, grid), strict=True)
    both = [[*of_roofs, *of_class(of_panels, 1)] for of_roofs, of_panels in views]
    assume(all(len(disjoint(tile_instances)) == len(tile_instances) for tile_instances in both))
    found = join(grid, both, [int(i) for i in rng.permutation(len(grid))])
    assert fingerprint([b for b in found if b.label == 0]) == label_fingerprint(roofs)
    assert {item[:-1] for item in fingerprint([b for b in found if b.label == 1])} == {
        item[:-1] for item in label_fingerprint(panels)
    }


def of_class(tile_instances: list[TileInstance], label: int) -> list[TileInstance]:
    return [TileInstance(p.col, p.row, p.mask, p.score, label, p.tile) for p in tile_instances]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 5), tile_size=st.integers(48, 90), overlap=st.integers(16, 36))
def test_order_changes_nothing_and_no_object_has_two_classes_whatever_the_predictor_says(
    seed: int, classes: int, tile_size: int, overlap: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = TOWNS["shapes"](rng, 150, 150)
    grid = TileGrid(150, 150, tile_size=tile_size, overlap=overlap)
    tile_instances = [mistaken(rng, of_tile, classes) for of_tile in known_tile_instances(labels, grid)]
    expected = join(grid, tile_instances, list(range(len(grid))), ready_every=10**9)
    assert_told_apart(expected)
    for ready_every in (1, 3):
        order = [int(i) for i in rng.permutation(len(grid))]
        shuffled = [list(rng.permutation(np.array([*of_tile, None], dtype=object)[:-1])) for of_tile in tile_instances]
        again = join(grid, shuffled, order, ready_every=ready_every)
        assert len(again) == len(expected)
        assert fingerprint(again) == fingerprint(expected)


def assert_told_apart(buildings: list[Building]) -> None:
    for index, a in enumerate(buildings):
        for b in buildings[:index]:
            assert not is_same_object(a, b)
            assert a.label != b.label or not shared_pixels(a, b)


GRID = TileGrid(160, 96, tile_size=96, overlap=32)  # two tiles: columns 0 to 96 and 64 to 160


def view(tile: Tile, rows: slice, cols: slice, label: int, score: float = 0.9) -> TileInstance:
    mask = np.zeros((96, 160), dtype=bool)
    mask[rows, cols] = True
    shown = mask[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
    (made,) = tile_instances_of(tile, Instances(np.array([score]), np.array([label]), shown[None]))
    return made


def joined(first: list[TileInstance], second: list[TileInstance]) -> list[Building]:
    """Join the views of the two tiles, in both orders, which has to give the same."""
    one, other = join(GRID, [first, second], [0, 1]), join(GRID, [first, second], [1, 0])
    assert fingerprint(one) == fingerprint(other)
    return one


@pytest.mark.parametrize(("end", "label"), [(150, TRUCK), (110, CAR)])
def test_what_one_tile_takes_for_a_car_and_the_next_for_a_truck_is_one_object_of_the_class_that_most_of_it_shows(
    end: int, label: int
) -> None:
    rows, cols = slice(20, 30), slice(30, end)
    (found,) = joined([view(GRID[0], rows, cols, CAR)], [view(GRID[1], rows, cols, TRUCK)])
    assert (found.col, found.mask.shape, found.label) == (30, (10, end - 30), label)


def test_an_object_that_two_tiles_see_whole_has_the_class_of_the_better_view() -> None:
    rows, cols = slice(20, 30), slice(70, 90)
    (found,) = joined([view(GRID[0], rows, cols, CAR, 0.6)], [view(GRID[1], rows, cols, TRUCK, 0.8)])
    assert (found.label, found.score) == (TRUCK, 0.8)


def test_a_cut_view_of_another_class_gives_way_to_the_whole_one_whatever_the_scores() -> None:
    whole = view(GRID[0], slice(20, 40), slice(50, 90), CAR, 0.6)
    cut = view(GRID[1], slice(20, 40), slice(50, 90), TRUCK, 0.9)
    (found,) = joined([whole], [cut])
    assert (found.label, found.col, found.mask.shape) == (CAR, 50, (20, 40))


def test_an_object_of_two_classes_in_every_tile_becomes_one() -> None:
    rows, cols = slice(20, 30), slice(30, 150)
    scores = {(0, CAR): 0.8, (0, TRUCK): 0.7, (1, CAR): 0.55, (1, TRUCK): 0.6}
    views = [[view(GRID[i], rows, cols, label, scores[i, label]) for label in (CAR, TRUCK)] for i in (0, 1)]
    (found,) = joined(*views)
    assert (found.label, found.mask.shape) == (CAR, (10, 120))


def test_a_car_against_a_truck_is_united_with_neither_it_nor_its_pixels() -> None:
    car, truck = (slice(20, 30), slice(40, 120)), (slice(30, 44), slice(40, 120))
    first, second = ([view(tile, *car, CAR, 0.6), view(tile, *truck, TRUCK, 0.9)] for tile in GRID)
    found = joined(first, second)
    assert {(b.label, b.row, b.mask.shape) for b in found} == {(CAR, 20, (10, 80)), (TRUCK, 30, (14, 80))}
    assert all(b.mask.all() for b in found)


@pytest.mark.parametrize("panel_score", [0.6, 0.95])
@pytest.mark.parametrize("seen_by", [(0, 1), (0,), (1,)])
def test_a_panel_on_a_roof_takes_nothing_from_it_and_stays(panel_score: float, seen_by: tuple[int, ...]) -> None:
    roof, panel = (slice(10, 60), slice(20, 140)), (slice(20, 36), slice(70, 90))
    views = [[view(tile, *roof, 0, 0.8)] for tile in GRID]
    for index in seen_by:
        views[index].append(view(GRID[index], *panel, 1, panel_score))
    found = joined(*views)
    assert {(b.label, b.mask.shape) for b in found} == {(0, (50, 120)), (1, (16, 20))}
    assert all(b.mask.all() for b in found)


def test_in_one_tile_the_better_class_of_an_object_stays_whatever_the_order() -> None:
    tile = GRID[0]
    views = [view(tile, slice(10, 30), slice(10, 30), label, score) for label, score in ((0, 0.7), (1, 0.8), (2, 0.75))]
    other = view(tile, slice(10, 30), slice(29, 50), 0, 0.6)
    for tile_instances in ([*views, other], [other, *views[::-1]]):
        assert {(p.label, p.bounds) for p in disjoint(tile_instances)} == {(1, (10, 10, 30, 30)), (0, (30, 10, 50, 30))}
