"""Pieces that may be one building, and what becomes of them: the joining's look at a component as a whole."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from engine.detection.pieces import Building, Piece, bounding_box, crop_to, shared_bounds, what_remains
from engine.detection.seam_relations import BORDER_MARGIN, cut_lengths
from engine.detection.tile_grid import Sides, Tile

Order = tuple[float, int, int, int, int, int]
Beholders = Callable[[Piece], Iterable[Tile]]


@dataclass(eq=False)
class Node:
    """A piece, and what is known of it.

    Attributes:
        order: place in the total order of trust, smaller is better. It depends on the data alone, never on when a
            piece came. cuts: how many pixels long each border of its tile cuts it. drops: nodes that it may drop, and
            whether it does so whatever the order says. agrees: nodes that show the same building, and how well. Kept
            on one of the two. contacts: nodes that share pixels with it. candidate: the building that it became part
            of; None before, and where it was dropped.
    """

    piece: Piece
    order: Order
    cuts: Sides
    drops: list[tuple[Node, bool]] = field(default_factory=list)
    agrees: list[tuple[Node, float]] = field(default_factory=list)
    contacts: list[Node] = field(default_factory=list)
    related_tiles: set[int] = field(default_factory=set)
    component: Component = field(init=False)
    candidate: Candidate | None = None
    resolved: bool = False

    def __post_init__(self) -> None:
        self.component = Component([self])

    @classmethod
    def of(cls, piece: Piece, number: int, inner: Sides) -> Node:
        """Wrap a piece; ``number`` tells apart the pieces of one tile, ``inner`` says which of its borders cut."""
        cuts = cut_lengths(piece, inner)
        height, width = piece.mask.shape
        # How much of the outline is not the building's but the tile's. A sliver of a house at the border may come with
        # a high score; half of its outline being a cut, it never outranks the house.
        trust = piece.score * (1 - sum(cuts) / (2 * (height + width)))
        return cls(piece, (-trust, -piece.area, piece.row, piece.col, piece.tile.index, number), cuts)

    def forget(self) -> None:
        """Let go of its neighbours, which would otherwise keep each other in memory all over the raster."""
        self.drops, self.agrees, self.contacts = [], [], []

    def is_disowned(self, beholders: Beholders) -> bool:
        """Say whether it is a strip along a border, and a tile that sees across that border shows no such building.

        A strip less than half as deep as it is long shows less of a building than it hides; and of what lies in the
        margin of a border alone, nothing is certain.
        """
        if not any(self.cuts):
            return False
        depths = _depths(self.piece)
        sides = [
            side
            for side in range(4)
            if self.cuts[side] and (2 * depths[side] < self.cuts[side] or depths[side] <= BORDER_MARGIN)
        ]
        if not sides:
            return False
        return any(
            tile.index not in self.related_tiles and _looks_across(tile, self.piece.tile, side)
            for tile in beholders(self.piece)
            for side in sides
        )


@dataclass(eq=False)
class Component:
    """Nodes that are related, directly or through others.

    Attributes:
        nodes: its nodes; empty once it was merged into another.
        pending: how many tiles still to come its nodes reach into, each node counting for itself.
    """

    nodes: list[Node]
    pending: int = 0

    def merge(self, other: Component) -> None:
        """Make one of two components; the larger one takes the nodes of the smaller."""
        if self is other:
            return
        keep, gone = (self, other) if len(self.nodes) >= len(other.nodes) else (other, self)
        for node in gone.nodes:
            node.component = keep
        keep.nodes += gone.nodes
        keep.pending += gone.pending
        gone.nodes = []
        gone.pending = 0

    def resolve(self, beholders: Beholders) -> list[Candidate]:
        """Drop the poorer views, unite what agrees, and return the buildings that this makes."""
        kept = [node for node in self.nodes if not node.is_disowned(beholders)]
        if len(kept) > 1:
            kept = _without_poorer_views(kept)
        candidates = [Candidate.of(nodes) for nodes in _united(kept)]
        for node in self.nodes:
            node.resolved = True
            if node.candidate is None:
                node.forget()
        self.nodes = []
        return candidates


@dataclass(eq=False)
class Candidate:
    """A building as its pieces show it, before it is settled with the others that claim some of its pixels.

    The best of ``nodes`` comes first.
    """

    nodes: list[Node]
    col: int
    row: int
    mask: np.ndarray
    decided: bool = False
    building: Building | None = None

    @classmethod
    def of(cls, nodes: list[Node]) -> Candidate:
        """Unite the masks of nodes, best first."""
        if len(nodes) == 1:
            piece = nodes[0].piece
            candidate = cls(nodes, piece.col, piece.row, piece.mask)
        else:
            boxes = np.array([node.piece.bounds for node in nodes])
            col, row = int(boxes[:, 0].min()), int(boxes[:, 1].min())
            mask = np.zeros((int(boxes[:, 3].max()) - row, int(boxes[:, 2].max()) - col), dtype=bool)
            for node in nodes:
                crop_to(_Placed(col, row, mask), node.piece.bounds)[...] |= node.piece.mask
            candidate = cls(nodes, col, row, mask)
        for node in nodes:
            node.candidate = candidate
        return candidate

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Half-open pixel bounds ``(col0, row0, col1, row1)``."""
        height, width = self.mask.shape
        return self.col, self.row, self.col + width, self.row + height

    @property
    def order(self) -> Order:
        """Its place in the total order of trust: that of its best piece."""
        return self.nodes[0].order

    @property
    def score(self) -> float:
        """Mean score of its pieces, weighted by their pixels.

        A maximum would grow with the number of tiles that a building is cut into, and a long one would pass a
        threshold that a short one of the same quality misses.
        """
        if len(self.nodes) == 1:
            return self.nodes[0].piece.score
        scores = np.array([node.piece.score for node in self.nodes])
        areas = np.array([node.piece.area for node in self.nodes])
        # Equal scores stay what they were, to the last bit.
        return float(np.clip((scores * areas).sum() / areas.sum(), scores.min(), scores.max()))

    def is_decidable(self) -> bool:
        """Say whether all that claim its pixels are known, and the better ones among them decided."""
        return all(contact.resolved for node in self.nodes for contact in node.contacts) and all(
            rival.decided for rival in self._better_rivals()
        )

    def decide(self) -> Building | None:
        """Give up the pixels that belong to better buildings; None where this leaves less than half."""
        col, row, mask = self.col, self.row, self.mask
        rivals = [rival.building for rival in self._better_rivals() if rival.building is not None]
        if rivals:
            remaining = what_remains(mask, self._without(rivals))
            box = None if remaining is None else bounding_box(remaining)
            if box is None:
                mask = mask[:0]
            else:
                col, row, mask = col + box[1].start, row + box[0].start, remaining[box]
        if mask.size:
            self.building = Building(col, row, mask, self.score, self.nodes[0].piece.label)
        self.decided = True
        for node in self.nodes:
            node.forget()
        self.mask = np.zeros((0, 0), dtype=bool)
        return self.building

    def _without(self, rivals: list[Building]) -> np.ndarray:
        mask = self.mask.copy()
        for rival in rivals:
            height, width = rival.mask.shape
            shared = shared_bounds(self.bounds, (rival.col, rival.row, rival.col + width, rival.row + height))
            crop_to(_Placed(self.col, self.row, mask), shared)[...] &= ~crop_to(rival, shared)
        return mask

    def _better_rivals(self) -> list[Candidate]:
        rivals = {contact.candidate for node in self.nodes for contact in node.contacts}
        return [rival for rival in rivals if rival is not None and rival is not self and rival.order < self.order]


@dataclass(eq=False)
class _Placed:
    col: int
    row: int
    mask: np.ndarray


def _without_poorer_views(nodes: list[Node]) -> list[Node]:
    """Let the nodes drop each other: better ones first, but none before those that may drop it whatever its order."""
    masters: dict[Node, int] = defaultdict(int)
    for node in nodes:
        for other, strict in node.drops:
            masters[other] += strict
    undecided = set(nodes)
    free = [(node.order, node) for node in nodes if not masters[node]]
    heapq.heapify(free)
    kept = []
    while undecided:
        if free:
            _, node = heapq.heappop(free)
        else:
            # Only views that contradict each other make a circle of strict ones; the order breaks it.
            node = min(undecided, key=lambda candidate: candidate.order)
        if node not in undecided:
            continue
        undecided.discard(node)
        kept.append(node)
        for dropped, _ in node.drops:
            if dropped not in undecided:
                continue
            undecided.discard(dropped)
            for other, strict in dropped.drops:
                masters[other] -= strict
                if strict and not masters[other] and other in undecided:
                    heapq.heappush(free, (other.order, other))
    return kept


def _united(kept: list[Node]) -> list[list[Node]]:
    """Group the nodes that agree, best agreement first; a group has as many tiles as nodes, the best node first."""
    groups = {node: [node] for node in kept}
    tiles = {node: {node.piece.tile.index} for node in kept}
    agreements = sorted(
        (-agreement, *sorted((node.order, other.order)), node, other)
        for node in kept
        for other, agreement in node.agrees
        if other in groups
    )
    root = {node: node for node in kept}
    for *_, a, b in agreements:
        a, b = root[a], root[b]
        if a is b or tiles[a] & tiles[b]:
            continue
        if len(groups[a]) < len(groups[b]):
            a, b = b, a
        tiles[a] |= tiles.pop(b)
        for node in groups[b]:
            root[node] = a
        groups[a] += groups.pop(b)
    return [sorted(group, key=lambda node: node.order) for group in groups.values()]


def _depths(piece: Piece) -> Sides:
    """Return how far a piece reaches into its tile from the left, top, right and bottom border, in pixels."""
    col0, row0, col1, row1 = piece.bounds
    left, top, right, bottom = piece.tile.bounds
    return Sides(left=col1 - left, top=row1 - top, right=right - col0, bottom=bottom - row0)


def _looks_across(tile: Tile, other: Tile, side: int) -> bool:
    """Say whether a tile sees both sides of another one's left, top, right or bottom border."""
    line = other.bounds[side]
    low, high = (tile.bounds[0], tile.bounds[2]) if side % 2 == 0 else (tile.bounds[1], tile.bounds[3])
    return low < line < high
