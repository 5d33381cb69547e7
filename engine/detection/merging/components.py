"""Instances that may be one building: which of them are poorer views of the same thing."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine.detection.merging.candidates import Candidate, united
from engine.detection.merging.relations import BORDER_MARGIN, cut_lengths
from engine.detection.merging.tile_instances import TileInstance
from engine.raster.tile_grid import Sides, Tile

Order = tuple[float, int, int, int, int, int, int]
CoveringTiles = Callable[[TileInstance], Iterable[Tile]]


@dataclass(eq=False)
class Node:
    """An instance, and what is known of it.

    Attributes:
        order: place in the total order of trust, smaller is better; a function of the data, never of when an instance came.
        cuts: how many pixels long each border of its tile cuts it.
        drops: nodes that it may drop, and whether it does so whatever the order says.
        agrees: nodes that show the same building, and how well; kept on one of the two.
        contacts: nodes that share pixels with it.
        related_tiles: tiles that show the same building, whichever of the two views is the better one.
        candidate: the building that it became part of; None before, and where it was dropped.
        resolved: whether that is known.
    """

    instance: TileInstance
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
    def of(cls, instance: TileInstance, number: int, inner: Sides) -> Node:
        """Wrap an instance; ``number`` tells apart the instances of one tile, ``inner`` says which of its borders cut."""
        cuts = cut_lengths(instance, inner)
        height, width = instance.mask.shape
        # How much of the outline is not the building's but the tile's. A sliver of a house at the border may come with
        # a high score; half of its outline being a cut, it never outranks the house.
        trust = instance.score * (1 - sum(cuts) / (2 * (height + width)))
        return cls(
            instance, (-trust, -instance.area, instance.row, instance.col, instance.tile.index, instance.label, number), cuts
        )

    def touch(self, other: Node) -> None:
        """Note that two nodes share pixels."""
        self.contacts.append(other)
        other.contacts.append(self)

    def forget(self) -> None:
        """Let go of its neighbours, which would otherwise keep each other in memory all over the raster."""
        self.drops, self.agrees, self.contacts = [], [], []

    def is_unconfirmed(self, covering_tiles: CoveringTiles) -> bool:
        """Return whether it is a strip along a border, and a tile that sees across that border shows no such building.

        A strip less than half as deep as it is long shows less of a building than it hides; and of what lies in the
        margin of a border alone, nothing is certain.
        """
        if not any(self.cuts):
            return False
        depths = _depths(self.instance)
        sides = [
            side
            for side in range(4)
            if self.cuts[side] and (2 * depths[side] < self.cuts[side] or depths[side] <= BORDER_MARGIN)
        ]
        if not sides:
            return False
        return any(
            tile.index not in self.related_tiles and _looks_across(tile, self.instance.tile, side)
            for tile in covering_tiles(self.instance)
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

    def resolve(self, covering_tiles: CoveringTiles) -> list[Candidate]:
        """Drop the poorer views, unite what agrees, and return the buildings that this makes."""
        kept = [node for node in self.nodes if not node.is_unconfirmed(covering_tiles)]
        if len(kept) > 1:
            kept = _without_poorer_views(kept)
        candidates = [Candidate.of(nodes) for nodes in united(kept)]
        for node in self.nodes:
            node.resolved = True
            if node.candidate is None:
                node.forget()
        self.nodes = []
        return candidates


def _without_poorer_views(nodes: list[Node]) -> list[Node]:
    """Let the nodes drop each other: better ones first, but none before those that may drop it whatever its order."""
    blockers: dict[Node, int] = defaultdict(int)
    for node in nodes:
        for other, strict in node.drops:
            blockers[other] += strict
    undecided = set(nodes)
    free = [(node.order, node) for node in nodes if not blockers[node]]
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
                blockers[other] -= strict
                if strict and not blockers[other] and other in undecided:
                    heapq.heappush(free, (other.order, other))
    return kept


def _depths(instance: TileInstance) -> Sides:
    """Return how far an instance reaches into its tile from the left, top, right and bottom border, in pixels."""
    col0, row0, col1, row1 = instance.bounds
    left, top, right, bottom = instance.tile.bounds
    return Sides(left=col1 - left, top=row1 - top, right=right - col0, bottom=bottom - row0)


def _looks_across(tile: Tile, other: Tile, side: int) -> bool:
    """Return whether a tile sees both sides of another one's left, top, right or bottom border."""
    line = other.bounds[side]
    low, high = (tile.bounds[0], tile.bounds[2]) if side % 2 == 0 else (tile.bounds[1], tile.bounds[3])
    return low < line < high
