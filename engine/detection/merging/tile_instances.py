"""Instances of instances as a tile shows them, and the buildings that they become."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from engine.detection.instances import Instances
from engine.raster.tile_grid import Tile

_HEAD = struct.Struct("<iiiidi")  # col, row, height, width, score, label; the packed bits of the mask follow
_EDGES = ndimage.generate_binary_structure(2, 1)  # pixels that share an edge are neighbours


@dataclass(frozen=True, eq=False)
class OffsetMask:
    """A mask with its place on the working grid.

    Attributes:
        col: column of the mask's left-most pixel.
        row: row of its top-most pixel.
        mask: (h, w) bool, mostly cropped to its bounding box; it may have several parts.
    """

    col: int
    row: int
    mask: np.ndarray

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Half-open pixel bounds ``(col0, row0, col1, row1)``."""
        height, width = self.mask.shape
        return self.col, self.row, self.col + width, self.row + height

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True, eq=False)
class Building(OffsetMask):
    """One building, or object of another class, whole.

    Attributes:
        score: confidence in 0..1.
        label: class index.
    """

    score: float
    label: int


@dataclass(frozen=True, eq=False)
class TileInstance(OffsetMask):
    """One instance of one tile.

    Attributes:
        score: confidence in 0..1.
        label: class index.
        tile: the tile that showed it.
    """

    score: float
    label: int
    tile: Tile


def packed(given: Iterable[TileInstance | Building]) -> bytes:
    """Write instances or buildings down as bytes, for a file or another process."""
    parts = []
    for each in given:
        parts.append(_HEAD.pack(each.col, each.row, *each.mask.shape, float(each.score), int(each.label)))
        parts.append(np.packbits(each.mask).tobytes())
    return b"".join(parts)


def unpacked(data: bytes) -> Iterator[Building]:
    """Read what ``packed`` wrote."""
    at = 0
    while at < len(data):
        col, row, height, width, score, label = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        size = (height * width + 7) // 8
        bits = np.frombuffer(data, np.uint8, size, at)
        at += size
        yield Building(col, row, np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width), score, label)


def tile_instances_of(tile: Tile, instances: Instances) -> list[TileInstance]:
    """Crop the instances of a tile to their bounding boxes; those without a pixel inside the tile are left out.

    Args:
        tile: where the instances were found. Where it is smaller than the masks, they were padded right and bottom.
        instances: masks of shape (N, H, W) with H and W at least the tile's.
    """
    masks = np.asarray(instances.masks, dtype=bool)[:, : tile.height, : tile.width]
    tile_instances = []
    for index in range(len(masks)):
        instance = TileInstance(
            tile.col, tile.row, masks[index], float(instances.scores[index]), int(instances.labels[index]), tile
        )
        cropped = cropped_instance(instance, masks[index])
        if cropped is not None:
            tile_instances.append(cropped)
    return tile_instances


def cropped_instance(instance: TileInstance, mask: np.ndarray) -> TileInstance | None:
    """Give an instance another mask of the same shape, cropped to its bounding box; None where it is empty."""
    box = bounding_box(mask)
    if box is None:
        return None
    rows, cols = box
    # A copy: a view would keep the masks of the whole tile alive for as long as the instance waits at a seam.
    return replace(
        instance, col=instance.col + cols.start, row=instance.row + rows.start, mask=np.ascontiguousarray(mask[rows, cols])
    )


def bounding_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Return the slices of rows and columns that hold all the pixels of a mask, or None where it has none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    cols = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def crop_to(given: OffsetMask, bounds: tuple[int, int, int, int]) -> np.ndarray:
    """Return the part of a mask that lies in a half-open rectangle of the working grid: a view, perhaps empty."""
    col0, row0, col1, row1 = bounds
    return given.mask[max(row0 - given.row, 0) : max(row1 - given.row, 0), max(col0 - given.col, 0) : max(col1 - given.col, 0)]


def shared_bounds(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return the half-open rectangle that two rectangles share; it has no pixels where they share none."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def meeting_boxes(firsts: Sequence[TileInstance], seconds: Sequence[TileInstance]) -> list[tuple[int, int]]:
    """Return the indices of instances whose bounding boxes share a pixel, one of either list."""
    a = np.array([instance.bounds for instance in firsts])[:, None]
    b = np.array([instance.bounds for instance in seconds])[None]
    meet = (a[..., 0] < b[..., 2]) & (b[..., 0] < a[..., 2]) & (a[..., 1] < b[..., 3]) & (b[..., 1] < a[..., 3])
    return [(int(i), int(j)) for i, j in np.argwhere(meet)]


def shared_pixels(a: OffsetMask, b: OffsetMask) -> int:
    """Count the pixels that two masks share."""
    bounds = shared_bounds(a.bounds, b.bounds)
    return int(np.count_nonzero(crop_to(a, bounds) & crop_to(b, bounds)))


def is_same_object(a: OffsetMask, b: OffsetMask) -> bool:
    """Return whether two masks show one object: their intersection over union is more than half."""
    common = shared_pixels(a, b)
    return common > 0 and 3 * common > a.area + b.area


def disjoint(tile_instances: Sequence[TileInstance]) -> list[TileInstance]:
    """Leave one instance of each object in a tile, and no pixel to two instances of one class: better scores first.

    Of one class, an instance more than half covered by better ones is a duplicate and goes; any other gives up the pixels that
    it shares. The rules at the seams can then rely on it that one instance of a tile never speaks for the pixels of two of
    its neighbour's. Instances of two classes may share pixels, such as a roof and the solar panel on it, unless they show the
    same object: then the better one stays.
    """
    by_label: dict[int, list[int]] = {}
    for index, instance in enumerate(tile_instances):
        by_label.setdefault(instance.label, []).append(index)
    if len(by_label) < 2:
        return _disjoint_in_class(tile_instances)
    of_classes = [_disjoint_in_class([tile_instances[index] for index in members]) for members in by_label.values()]
    return _one_class_an_object([instance for of_class in of_classes for instance in of_class])


def _one_class_an_object(tile_instances: Sequence[TileInstance]) -> list[TileInstance]:
    """Leave out the instances that show the same object as a better one of another class.

    A model often sees one object as two classes, and the tile beside it as one of them: were both kept here, the poorer
    class could end at the tile's border. A roof of which a tile shows no more than what a panel covers is lost to it.
    """
    kept = dict(enumerate(tile_instances))
    rivals: dict[int, list[int]] = {}
    for i, j in meeting_boxes(tile_instances, tile_instances):
        if tile_instances[i].label != tile_instances[j].label:
            rivals.setdefault(i, []).append(j)
    decided: set[int] = set()
    for index in sorted(rivals, key=lambda i: (*_rank(tile_instances[i]), i)):
        if any(other in decided and is_same_object(tile_instances[index], tile_instances[other]) for other in rivals[index]):
            del kept[index]
        else:
            decided.add(index)
    return list(kept.values())


def _rank(instance: TileInstance) -> tuple[float, int, int, int, int]:
    """Return the place of an instance among those of its tile that claim the same pixels, smaller is better."""
    return -instance.score, -instance.area, instance.row, instance.col, instance.label


def _disjoint_in_class(tile_instances: Sequence[TileInstance]) -> list[TileInstance]:
    if len(tile_instances) < 2:
        return list(tile_instances)
    tile = tile_instances[0].tile
    col0, row0, col1, row1 = tile.bounds
    claims = np.zeros((row1 - row0, col1 - col0), dtype=np.int32)
    for instance in tile_instances:
        crop_to_canvas(claims, tile, instance)[...] += instance.mask
    contested = claims > 1
    if not contested.any():
        return list(tile_instances)
    claimants = [
        index
        for index, instance in enumerate(tile_instances)
        if (crop_to_canvas(contested, tile, instance) & instance.mask).any()
    ]
    kept = dict(enumerate(tile_instances))
    taken = np.zeros(claims.shape, dtype=bool)
    for index in sorted(claimants, key=lambda i: (*_rank(tile_instances[i]), i)):
        instance = kept.pop(index)
        region = crop_to_canvas(taken, tile, instance)
        mask = what_remains(instance.mask, instance.mask & ~region)
        remaining = None if mask is None else cropped_instance(instance, mask)
        if remaining is not None:
            kept[index] = remaining
            region |= mask
    return [kept[index] for index in sorted(kept)]


def crop_to_canvas(canvas: np.ndarray, tile: Tile, instance: TileInstance) -> np.ndarray:
    """Return the view of a tile-sized canvas that lies under an instance of that tile."""
    top, left = instance.row - tile.row, instance.col - tile.col
    height, width = instance.mask.shape
    return canvas[top : top + height, left : left + width]


def what_remains(whole: np.ndarray, remaining: np.ndarray) -> np.ndarray | None:
    """Return what is left of a mask that gave up pixels to better ones.

    None where more than half of it went: it was the same thing, or a blob over several. Where a part of it was split,
    the largest fragment of that part stays, so that no slivers are left beside a neighbour's wall.
    """
    area = np.count_nonzero(whole)
    left = np.count_nonzero(remaining)
    if left == area:
        return whole
    if 2 * left < area or not left:
        return None
    fragments, count = ndimage.label(remaining, _EDGES)
    if count == 1:
        return remaining
    parts, _ = ndimage.label(whole, _EDGES)
    sizes = np.bincount(fragments.ravel(), minlength=count + 1)
    part_of = np.zeros(count + 1, dtype=parts.dtype)
    part_of[fragments[remaining]] = parts[remaining]
    touched = np.unique(parts[whole & ~remaining])
    keep = np.ones(count + 1, dtype=bool)
    keep[0] = False
    for part in touched:
        members = np.flatnonzero(part_of == part)
        keep[members] = False
        if len(members):
            keep[members[np.argmax(sizes[members])]] = True
    return keep[fragments]
