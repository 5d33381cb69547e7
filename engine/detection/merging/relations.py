"""What two instances of overlapping tiles are to each other: the same building, a poorer view of it, or neighbours.

Both tiles look at the same pixels where they overlap, and what they say about those is all the evidence there is. For
instances a of tile A and b of tile B, let i be the pixels that they share.

* *a may drop b*: b lies within A, a ends before every border of A that B looks across, and a covers more than half of
  b. Strictly so where b in turn is cut by its border and a sees on: then a is the better view whatever the scores say.
  Otherwise both tiles saw the whole thing, and the better of the two stays.
* *a and b are one building*: inside the overlap, intersection over union is more than half. A blob over two equal
  houses reaches half with each and is joined to neither; and an instance that also swallows a second one, of a size that
  counts, is a blob whatever its IoU, so a row of touching houses never becomes one.

Instances of one class are related first. Those of two classes are related only where neither has a relative of its own class in
the other tile, so that a car beside a truck stays with the car: then the tiles see the same object and disagree about its
class. Of two that both tiles saw whole, one may drop the other only at an intersection over union of more than half: a
solar panel is no poorer view of the roof that it lies on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.detection.merging.tile_instances import TileInstance, crop_to, shared_bounds, shared_pixels
from engine.raster.tile_grid import Sides, Tile

BORDER_MARGIN = 4
"""Pixels from a border within which a mask counts as cut by it: masks come from a map of a quarter of the tile's
resolution, so the last of its cells decides. Too wide a margin costs nothing but a union where a choice would have
done."""

SWALLOWED_SHARE = 0.25
"""Share of an instance, inside the overlap, from which on another instance in it counts as a second house."""


@dataclass(frozen=True)
class Relation:
    """What is known of two instances that share pixels.

    Attributes:
        first: index of the one instance.
        second: index of the other.
        first_drops: ``first`` may drop ``second``.
        second_drops: ``second`` may drop ``first``.
        strict: whichever drops the other does so whatever the scores say: the other one is cut, and it is not.
        agreement: intersection over union inside the overlap where both show one building, else 0.
    """

    first: int
    second: int
    first_drops: bool
    second_drops: bool
    strict: bool
    agreement: float

    @property
    def is_same_object(self) -> bool:
        """Whether both show one object; other instances that share pixels are neighbours, or lie on one another."""
        return self.first_drops or self.second_drops or self.agreement > 0


def relations(
    firsts: Sequence[TileInstance], seconds: Sequence[TileInstance], pairs: Iterable[tuple[int, int]]
) -> list[Relation]:
    """Relate the instances of one tile to those of another.

    Args:
        firsts: instances of tile A, those of one class sharing no pixels with each other.
        seconds: instances of tile B, likewise.
        pairs: indices of instances whose bounding boxes overlap. A relation is found for each pair that shares a pixel.
    """
    shared = {pair: count for pair in pairs if (count := shared_pixels(firsts[pair[0]], seconds[pair[1]]))}
    of_one_class = {(i, j): count for (i, j), count in shared.items() if firsts[i].label == seconds[j].label}
    found = _relations(firsts, seconds, of_one_class)
    if len(of_one_class) == len(shared):
        return found
    related_firsts = {relation.first for relation in found if relation.is_same_object}
    related_seconds = {relation.second for relation in found if relation.is_same_object}
    of_two = {pair: count for pair, count in shared.items() if pair not in of_one_class}
    without_relatives = {
        (i, j): count for (i, j), count in of_two.items() if i not in related_firsts and j not in related_seconds
    }
    found += _relations(firsts, seconds, without_relatives)
    found += [Relation(i, j, False, False, False, 0.0) for i, j in of_two if (i, j) not in without_relatives]
    return found


def _relations(
    firsts: Sequence[TileInstance], seconds: Sequence[TileInstance], shared: dict[tuple[int, int], int]
) -> list[Relation]:
    """Relate instances by the pixels that they share, as if there were no others."""
    if not shared:
        return []
    tile_a, tile_b = firsts[0].tile, seconds[0].tile
    overlap = shared_bounds(tile_a.bounds, tile_b.bounds)
    in_overlap_a = {i: int(np.count_nonzero(crop_to(firsts[i], overlap))) for i in {pair[0] for pair in shared}}
    in_overlap_b = {j: int(np.count_nonzero(crop_to(seconds[j], overlap))) for j in {pair[1] for pair in shared}}
    swallowed_by_a: dict[int, list[int]] = defaultdict(list)
    swallowed_by_b: dict[int, list[int]] = defaultdict(list)
    for (i, j), count in shared.items():
        if 2 * count > in_overlap_b[j] and count > SWALLOWED_SHARE * in_overlap_a[i]:
            swallowed_by_a[i].append(j)
        if 2 * count > in_overlap_a[i] and count > SWALLOWED_SHARE * in_overlap_b[j]:
            swallowed_by_b[j].append(i)

    found = []
    for (i, j), count in shared.items():
        a, b = firsts[i], seconds[j]
        a_ends = ends_before(a, tile_b)
        b_ends = ends_before(b, tile_a)
        a_drops = a_ends and 2 * count > b.area and lies_within(b, tile_a)
        b_drops = b_ends and 2 * count > a.area and lies_within(a, tile_b)
        union = in_overlap_a[i] + in_overlap_b[j] - count
        if a.label != b.label and a_ends and b_ends and 2 * count <= union:
            a_drops = b_drops = False
        blob = any(k != j for k in swallowed_by_a.get(i, ())) or any(k != i for k in swallowed_by_b.get(j, ()))
        agreement = count / union if 2 * count > union and not blob else 0.0
        found.append(Relation(i, j, a_drops, b_drops, a_ends != b_ends, agreement))
    return found


def lies_within(instance: TileInstance, tile: Tile) -> bool:
    """Return whether a tile shows every pixel of an instance."""
    col0, row0, col1, row1 = instance.bounds
    left, top, right, bottom = tile.bounds
    return left <= col0 and top <= row0 and col1 <= right and row1 <= bottom


def ends_before(instance: TileInstance, other: Tile) -> bool:
    """Return whether an instance ends before every border of its own tile that the other tile looks across."""
    low_col, low_row, high_col, high_row = other.bounds
    left, top, right, bottom = instance.tile.bounds
    across = Sides(low_col < left < high_col, low_row < top < high_row, low_col < right < high_col, low_row < bottom < high_row)
    return not any(
        crop_to(instance, shared_bounds(strip, other.bounds)).any() for _, strip in _strips_reached(instance, across)
    )


def cut_lengths(instance: TileInstance, inner: Sides) -> Sides:
    """Return how many pixels long each inner border of the tile cuts an instance: left, top, right, bottom."""
    lengths = [0, 0, 0, 0]
    for side, strip in _strips_reached(instance, inner):
        lengths[side] = int(np.count_nonzero(crop_to(instance, strip).any(axis=1 if side % 2 == 0 else 0)))
    return Sides(*lengths)


def _strips_reached(instance: TileInstance, wanted: Sides) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Yield the wanted sides of its tile that an instance comes near, and the strip in which it counts as cut there."""
    left, top, right, bottom = instance.tile.bounds
    col0, row0, col1, row1 = instance.bounds
    if wanted.left and col0 < left + BORDER_MARGIN:
        yield 0, (left, top, left + BORDER_MARGIN, bottom)
    if wanted.top and row0 < top + BORDER_MARGIN:
        yield 1, (left, top, right, top + BORDER_MARGIN)
    if wanted.right and col1 > right - BORDER_MARGIN:
        yield 2, (right - BORDER_MARGIN, top, right, bottom)
    if wanted.bottom and row1 > bottom - BORDER_MARGIN:
        yield 3, (left, bottom - BORDER_MARGIN, right, bottom)
