"""Small towns as label rasters (0 is ground, each building has its own number), and predictors that read them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from engine.detection.instances import Instances
from engine.detection.merging.merger import InstanceMerger
from engine.detection.merging.tile_instances import Building, TileInstance, disjoint, tile_instances_of
from engine.raster.tile_grid import Tile, TileGrid


def shapes_town(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Rectangles, L-shapes, U-shapes and courtyards, some longer than any tile, many touching; one connected part each."""
    labels = np.zeros((height, width), dtype=np.int32)
    for number in range(1, int(rng.integers(2, 40))):
        h, w = (int(side) for side in rng.integers(1, [max(height // 2, 2), max(width // 2, 2)]))
        row, col = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        shape = np.ones((h, w), dtype=bool)
        thick = int(rng.integers(1, 12))
        kind = rng.integers(0, 4)
        if kind == 1:
            shape[: max(h - thick, 0), thick:] = False
        elif kind == 2:
            shape[: max(h - thick, 0), thick : max(w - thick, thick)] = False
        elif kind == 3:
            shape[thick : max(h - thick, thick), thick : max(w - thick, thick)] = False
        np.putmask(labels[row : row + h, col : col + w], np.rot90(shape, 2 * int(rng.integers(0, 2))), np.int32(number))
    return connected(labels)


def noise_town(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Ragged buildings of any form, holes and single pixels among them."""
    field = ndimage.gaussian_filter(rng.standard_normal((height, width)), rng.uniform(0.7, 4))
    return connected((field > np.quantile(field, rng.uniform(0.2, 0.9))).astype(np.int32))


def cells_town(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Buildings that touch each other everywhere, without any ground between them."""
    count = int(rng.integers(1, 40))
    seeds = rng.uniform(0, 1, (count, 2)) * (height, width)
    rows, cols = np.mgrid[:height, :width]
    distance = (rows[..., None] - seeds[:, 0]) ** 2 + (cols[..., None] - seeds[:, 1]) ** 2
    return connected(distance.argmin(axis=-1).astype(np.int32) + 1)


def spiral(size: int, thick: int) -> np.ndarray:
    """One building that winds to the middle of a square."""
    labels = np.zeros((size, size), dtype=np.int32)
    low, high = 0, size
    while high - low > 2 * thick:
        labels[low : low + thick, low - thick if low else 0 : high] = 1
        labels[low:high, high - thick : high] = 1
        labels[high - thick : high, low:high] = 1
        labels[low + 2 * thick : high, low : low + thick] = 1
        low, high = low + 2 * thick, high - 2 * thick
    return labels


def connected(labels: np.ndarray) -> np.ndarray:
    """Give each connected part (by edges) of each label a number of its own."""
    result = np.zeros_like(labels)
    total = 0
    for value in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == value)
        result[parts > 0] = parts[parts > 0] + total
        total += count
    return result


TOWNS = {"shapes": shapes_town, "noise": noise_town, "cells": cells_town}


def known_instances(labels: np.ndarray, tile: Tile, score: float = 0.9, classes: int = 1) -> Instances:
    """Read the instances of one tile out of a label raster, without a mistake; the class follows from the number."""
    shown = labels[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
    present = np.unique(shown[shown > 0])
    return Instances(
        scores=np.full(len(present), score, dtype=np.float32),
        labels=(present % classes).astype(np.int64),
        masks=shown[None] == present[:, None, None],
    )


def known_tile_instances(labels: np.ndarray, grid: TileGrid, classes: int = 1) -> list[list[TileInstance]]:
    """The instances of every tile of a label raster."""
    return [tile_instances_of(tile, known_instances(labels, tile, classes=classes)) for tile in grid]


def mistaken(rng: np.random.Generator, tile_instances: list[TileInstance], classes: int = 1) -> list[TileInstance]:
    """Drop, shift, dilate and merge instances of a tile, and give them scores, and classes, at random."""
    made = []
    for instance in tile_instances:
        if rng.random() < 0.1:
            continue
        mask = np.zeros((instance.tile.height, instance.tile.width), dtype=bool)
        top, left = instance.row - instance.tile.row, instance.col - instance.tile.col
        mask[top : top + instance.mask.shape[0], left : left + instance.mask.shape[1]] = instance.mask
        if rng.random() < 0.5:
            mask = np.roll(mask, tuple(int(d) for d in rng.integers(-3, 4, 2)), axis=(0, 1))
        if rng.random() < 0.3:
            mask |= np.roll(mask, 2, axis=1)
        if made and rng.random() < 0.2:
            mask |= made[-1]
        made.append(mask)
    scores = rng.uniform(0.3, 1, len(made)).astype(np.float32)
    labels = rng.integers(0, classes, len(made)) if classes > 1 else np.zeros(len(made), dtype=np.int64)
    masks = np.array(made).reshape(len(made), *(made[0].shape if made else (1, 1)))
    if not tile_instances:
        return []
    return tile_instances_of(tile_instances[0].tile, Instances(scores, labels, masks))


def join(grid: TileGrid, tile_instances: list[list[TileInstance]], order: list[int], *, ready_every: int = 1) -> list[Building]:
    """Join instances, the tiles in a given order, taking what is ready after every so many."""
    merger = InstanceMerger(grid)
    buildings: list[Building] = []
    for count, index in enumerate(order, 1):
        if tile_instances[index]:
            merger.add(grid[index], disjoint(tile_instances[index]))
        else:
            merger.skip(grid[index])
        if count % ready_every == 0:
            buildings += merger.ready()
    return buildings + merger.finish()


def fingerprint(buildings: list[Building]) -> set[tuple[int, int, tuple[int, ...], bytes, float, int]]:
    """Buildings as a set that compares by value."""
    return {(b.col, b.row, b.mask.shape, np.packbits(b.mask).tobytes(), b.score, b.label) for b in buildings}


def label_fingerprint(
    labels: np.ndarray, score: float = 0.9, classes: int = 1
) -> set[tuple[int, int, tuple[int, ...], bytes, float, int]]:
    """What ``fingerprint`` gives for exactly the buildings of a label raster."""
    buildings = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            mask = labels[box] == number
            buildings.append(Building(box[1].start, box[0].start, mask, float(np.float32(score)), number % classes))
    return fingerprint(buildings)
