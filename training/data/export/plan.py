"""Lay out the tiles of a data set, and share them out between training and validation by ground.

What is split is the ground, never the tiles: neighbouring tiles that overlap, or a building on the border of two, would put the
same roof on both sides. The ground is divided into blocks with strips of unused ground between them; a block goes to one side
as a whole, and no tile reaches out of its block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from engine.errors import ArgumentError
from engine.raster.tile_grid import Tile, TileGrid

MIN_INSIDE = 0.25  # of a whole tile within the area; less is mostly black, or a sliver at the far edge
MIN_BLOCKS = 24  # about so many make a share of the ground that can be met, from more than one corner of it
LARGEST_BLOCK = 8  # tiles along a side

Bounds = tuple[int, int, int, int]


@dataclass(frozen=True)
class Layout:
    """How tiles lie on the ground.

    Attributes:
        tile_size: pixels.
        stride: pixels from one tile to the next; less than ``tile_size`` makes them overlap.
        share: of the tiles that go to training; None does not split.
        margin: pixels of unused ground between blocks.
        block: tiles along the side of a block; None finds a size that gives enough blocks.
        seed: of the draw of blocks.
    """

    tile_size: int = 300
    stride: int | None = None
    share: float | None = None
    margin: int = 32
    block: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        stride = self.tile_size if self.stride is None else self.stride
        object.__setattr__(self, "stride", stride)
        for name, wrong, way_out in (
            ("tile_size", self.tile_size < 16, "Give at least 16 pixels."),
            ("stride", not 0 < stride <= self.tile_size, f"Give 1 to {self.tile_size}, the tile size."),
            ("share", self.share is not None and not 0 < self.share < 1, "Give the share of training, such as 0.8."),
            ("margin", self.margin < 0, "Give pixels, 0 or more."),
            ("block", self.block is not None and self.block < 1, "Give 1 tile or more."),
        ):
            if wrong:
                label = "split" if name == "share" else name
                raise ArgumentError(f"{label} is {getattr(self, name)}.", hint=way_out)


def plan_tiles(window: Bounds, layout: Layout, area: shapely.Geometry | None = None) -> dict[str, list[Tile]]:
    """Lay tiles over a window of the working grid.

    Args:
        window: half-open pixel bounds.
        layout: sizes and shares.
        area: where annotations are complete, in pixels; tiles with less of it than a quarter of a whole tile are left
            out.

    Returns:
        Tiles by the name of their side: ``train`` and ``val``, or all under an empty name where nothing is split. Those of
        ``val`` never overlap: a building that stood in two of them would count twice.

    Raises:
        ArgumentError: there is too little ground to split.
    """
    if layout.share is None:
        return {"": list(_tiles(window, layout, area))}
    size = layout.block or _block_size(len(list(_tiles(window, layout, area))))
    side = size * layout.stride + layout.tile_size - layout.stride
    lengths = {"side": side, "margin": layout.margin, "smallest": layout.tile_size // 2}
    blocks = [
        (left, top, right, bottom)
        for top, bottom in spans(window[1], window[3], **lengths)
        for left, right in spans(window[0], window[2], **lengths)
    ]
    weights = {block: count for block in blocks if (count := len(list(_tiles(block, layout, area))))}
    if len(weights) < 2:
        raise ArgumentError(
            f"split is {layout.share}, but the ground makes {len(weights)} blocks of {side} pixels: too little to share out.",
            hint="Give a smaller tile size or block, or more ground.",
        )
    held = _draw(list(weights.values()), 1 - layout.share, np.random.default_rng(layout.seed))
    apart = replace(layout, stride=layout.tile_size)
    sides: dict[str, list[Tile]] = {"train": [], "val": []}
    for block, is_held in zip(weights, held, strict=True):
        sides["val" if is_held else "train"] += _tiles(block, apart if is_held else layout, area)
    return sides


def spans(low: int, high: int, *, side: int, margin: int, smallest: int) -> list[tuple[int, int]]:
    """Divide ``low .. high`` into spans of ``side`` with a margin between them.

    What is left at the end is a span of its own if it is at least ``smallest`` long, else it goes to the last one: no ground
    is lost but the margins.
    """
    starts = list(range(low, max(high - smallest, low) + 1, side + margin))
    ends = [min(start + side, high) for start in starts[:-1]]
    return list(zip(starts, [*ends, high], strict=True))


def _tiles(window: Bounds, layout: Layout, area: shapely.Geometry | None) -> Iterator[Tile]:
    left, top, right, bottom = window
    least = MIN_INSIDE * min(layout.tile_size**2, (right - left) * (bottom - top))
    for tile in _lattice(window, layout):
        box = shapely.box(*tile.bounds)
        if shapely.area(box if area is None else shapely.intersection(area, box)) >= least:
            yield tile


def _lattice(window: Bounds, layout: Layout) -> Iterator[Tile]:
    """Lay tiles side by side, those at the far edges cut where the window ends: no ground is counted twice.

    Tiles that overlap anyway are all of one size, the last ones anchored at the far edges.
    """
    left, top, right, bottom = window
    side = layout.tile_size
    if layout.stride < side:
        yield from TileGrid(right - left, bottom - top, tile_size=side, overlap=side - layout.stride, origin=(left, top))
        return
    places = [(col, row) for row in range(top, bottom, side) for col in range(left, right, side)]
    for index, (col, row) in enumerate(places):
        yield Tile(index, col, row, min(side, right - col), min(side, bottom - row))


def _block_size(tiles: int) -> int:
    return int(np.clip(np.sqrt(tiles / MIN_BLOCKS), 1, LARGEST_BLOCK))


def _draw(weights: Sequence[int], share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw blocks that together come near a share of the weight, at least one and never all."""
    weights = np.asarray(weights)
    wanted, have = share * weights.sum(), 0
    held = np.zeros(len(weights), dtype=bool)
    for block in rng.permutation(len(weights)):
        if abs(have + weights[block] - wanted) < abs(have - wanted):
            held[block] = True
            have += weights[block]
    if not held.any():
        held[np.argmin(weights)] = True
    if held.all():
        held[np.argmin(weights)] = False
    return held
