"""Join the instances of instances that tiles show into buildings, so that the tiles cannot be seen in the result.

The result is a function of the set of instances: neither the order in which tiles arrive nor the moments at which finished
buildings are taken away change it. The steps, on what ``relations`` says of pairs of instances:

1. Instances that are related, directly or through others, form a *component*.
2. Inside a component, the better instances drop poorer views of the same thing.
3. Instances that stay and agree on the overlap of their tiles are united, best agreement first, never two instances of one
   tile.
4. Buildings that still share pixels, such as a blob over two houses, settle it in order of trust: one more than half
   covered by better ones goes, any other gives up the contested pixels.

Where a model knows several classes, the instances of each are joined by themselves: a car gives up no pixels to a person, and
is united with none. There is one exception, because an object has one class, whichever tiles see it: instances of two classes
that show the same object (intersection over union of more than half where both tiles look, and neither has a relative of its
own class there) are related like instances of one class. United, they get the class that most of their pixels, weighted by
score, speak for. In the end no two objects of one class share a pixel, and no two of different classes are the same object.

With a predictor that makes no mistakes, instances of one building agree completely wherever two tiles see the same pixel,
and tiles that overlap share a pixel of every building that crosses both: the buildings come back exactly.

Everything is decided next to where it happens. Memory holds the instances that a tile still to come could change, and
those waiting for a better neighbour to be settled; not the raster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from engine.detection.merging.candidates import Candidate
from engine.detection.merging.components import Component, Node
from engine.detection.merging.relations import relations
from engine.detection.merging.tile_instances import Building, TileInstance, meeting_boxes, shared_pixels, tile_instances_of
from engine.errors import ArgumentError
from engine.raster.tile_grid import Tile, TileGrid

__all__ = ["Building", "InstanceMerger", "TileInstance", "tile_instances_of"]


class InstanceMerger:
    """Take the instances of tile after tile, in any order, and give back buildings as soon as they are certain."""

    def __init__(self, grid: TileGrid) -> None:
        self._grid = grid
        self._added: set[int] = set()
        # Instances already there that reach into a tile still to come, by the index of that tile.
        self._waiting_for: dict[int, list[Node]] = defaultdict(list)
        self._closed: list[Component] = []
        self._candidates: list[Candidate] = []

    def add(self, tile: Tile, instances: Sequence[TileInstance]) -> None:
        """Take the instances of one tile, of which those of one class share no pixel (see `tile_instances.disjoint`).

        Raises:
            ArgumentError: this tile was there before.
        """
        if tile.index in self._added:
            raise ArgumentError(f"Tile {tile.index} was added twice.", hint="Add or skip each tile of the grid once.")
        self._added.add(tile.index)
        nodes = [Node.of(instance, order, self._grid.inner_sides(tile)) for order, instance in enumerate(instances)]
        components = {node.component for node in nodes}
        _note_contacts(nodes)

        waiting = self._waiting_for.pop(tile.index, [])
        by_tile: dict[int, list[Node]] = defaultdict(list)
        for node in waiting:
            node.component.pending -= 1
            components.add(node.component)
            by_tile[node.instance.tile.index].append(node)
        for others in by_tile.values():
            self._relate(others, nodes)

        self._wait(tile, nodes)
        # Components that were merged into another are empty now.
        self._closed += [component for component in components if component.nodes and not component.pending]

    def skip(self, tile: Tile) -> None:
        """Say that a tile has nothing to show."""
        self.add(tile, [])

    def ready(self) -> list[Building]:
        """Return the buildings, not returned before, that no tile still to come can change."""
        closed, self._closed = self._closed, []
        for component in closed:
            self._candidates += component.resolve(self._sees)
        # Better ones first: whether a building keeps its pixels depends on better ones alone.
        self._candidates.sort(key=lambda candidate: candidate.order)
        buildings: list[Building] = []
        undecided = []
        for candidate in self._candidates:
            if candidate.is_decidable():
                building = candidate.decide()
                if building is not None:
                    buildings.append(building)
            else:
                undecided.append(candidate)
        self._candidates = undecided
        return sorted(buildings, key=lambda building: (building.row, building.col))

    def finish(self) -> list[Building]:
        """Return the buildings not returned before, as if no tile were still to come: at the end, or on cancel."""
        left = {node.component for nodes in self._waiting_for.values() for node in nodes}
        self._waiting_for.clear()
        self._closed += sorted(left, key=lambda component: min(node.order for node in component.nodes))
        return self.ready()

    def _relate(self, earlier: list[Node], later: list[Node]) -> None:
        """Find what the instances of two tiles are to each other."""
        if not later:
            return
        firsts, seconds = [node.instance for node in earlier], [node.instance for node in later]
        for relation in relations(firsts, seconds, meeting_boxes(firsts, seconds)):
            a, b = earlier[relation.first], later[relation.second]
            a.touch(b)
            if relation.first_drops:
                a.drops.append((b, relation.strict))
            if relation.second_drops:
                b.drops.append((a, relation.strict))
            if relation.agreement:
                a.agrees.append((b, relation.agreement))
            if relation.is_same_object:
                a.related_tiles.add(b.instance.tile.index)
                b.related_tiles.add(a.instance.tile.index)
                a.component.merge(b.component)

    def _wait(self, tile: Tile, nodes: list[Node]) -> None:
        """Register the instances of a tile with the tiles still to come that they reach into."""
        for index in self._grid.tiles_meeting(*tile.bounds):
            if index in self._added or not nodes:
                continue
            left, top, right, bottom = self._grid[index].bounds
            for node in nodes:
                col0, row0, col1, row1 = node.instance.bounds
                if col0 < right and left < col1 and row0 < bottom and top < row1:
                    self._waiting_for[index].append(node)
                    node.component.pending += 1

    def _sees(self, instance: TileInstance) -> Iterable[Tile]:
        """Give the tiles, already there, that show an instance of another tile as a whole."""
        col0, row0, col1, row1 = instance.bounds
        for index in self._grid.tiles_meeting(*instance.bounds):
            if index in self._added and index != instance.tile.index:
                left, top, right, bottom = self._grid[index].bounds
                if left <= col0 and top <= row0 and col1 <= right and row1 <= bottom:
                    yield self._grid[index]


def _note_contacts(nodes: list[Node]) -> None:
    """Note which nodes of one tile share pixels: those of one class do not."""
    instances = [node.instance for node in nodes]
    if len({instance.label for instance in instances}) < 2:
        return
    for i, j in meeting_boxes(instances, instances):
        if i < j and instances[i].label != instances[j].label and shared_pixels(instances[i], instances[j]):
            nodes[i].touch(nodes[j])
