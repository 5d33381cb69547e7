"""What becomes of the instances that stay: buildings, which settle among themselves who owns contested pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from engine.detection.merging.tile_instances import (
    Building,
    OffsetMask,
    bounding_box,
    crop_to,
    is_same_object,
    shared_bounds,
    what_remains,
)

if TYPE_CHECKING:
    from engine.detection.merging.components import Node, Order


@dataclass(eq=False)
class Candidate:
    """A building as its instances show it, before it is settled with the others that claim some of its pixels.

    Attributes:
        nodes: the instances that it is made of; none once it is decided.
        order: its place in the total order of trust, which is that of its best instance.
        claim: the building that they show; None once it is decided.
        building: what became of it; None before, and where better ones took more than half.
    """

    nodes: list[Node]
    order: Order
    claim: Building | None
    building: Building | None = None

    @classmethod
    def of(cls, nodes: list[Node]) -> Candidate:
        """Unite the masks of nodes, best first."""
        instance = nodes[0].instance
        col, row, mask = instance.col, instance.row, instance.mask
        if len(nodes) > 1:
            boxes = np.array([node.instance.bounds for node in nodes])
            (col, row), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
            mask = np.zeros((bottom - row, right - col), dtype=bool)
            for node in nodes:
                crop_to(OffsetMask(col, row, mask), node.instance.bounds)[...] |= node.instance.mask
        candidate = cls(nodes, nodes[0].order, Building(col, row, mask, _mean_score(nodes), _class_of(nodes)))
        for node in nodes:
            node.candidate = candidate
        return candidate

    @property
    def decided(self) -> bool:
        """Whether it is known what became of it."""
        return self.claim is None

    def is_decidable(self) -> bool:
        """Return whether all that claim its pixels are known, and the better ones among them decided."""
        return all(contact.resolved for node in self.nodes for contact in node.contacts) and all(
            rival.decided for rival in self._better_rivals()
        )

    def decide(self) -> Building | None:
        """Give up the pixels that belong to better buildings of its class.

        None where this leaves less than half, and where a better building of another class is the same object.
        """
        better = [rival.building for rival in self._better_rivals() if rival.building is not None]
        building = _remaining(self.claim, [other for other in better if other.label == self.claim.label])
        of_other_classes = [other for other in better if other.label != self.claim.label]
        if building is not None and not any(is_same_object(building, other) for other in of_other_classes):
            self.building = building
        self.claim = None
        for node in self.nodes:
            node.forget()
        self.nodes = []
        return self.building

    def _better_rivals(self) -> list[Candidate]:
        rivals = {contact.candidate for node in self.nodes for contact in node.contacts}
        return [rival for rival in rivals if rival is not None and rival is not self and rival.order < self.order]


def _remaining(claim: Building, rivals: list[Building]) -> Building | None:
    """Return what rivals leave of a claim; None where that is less than half."""
    if not rivals:
        return claim
    mask = claim.mask.copy()
    for rival in rivals:
        shared = shared_bounds(claim.bounds, rival.bounds)
        crop_to(replace(claim, mask=mask), shared)[...] &= ~crop_to(rival, shared)
    remaining = what_remains(claim.mask, mask)
    box = None if remaining is None else bounding_box(remaining)
    if box is None:
        return None
    return replace(claim, col=claim.col + box[1].start, row=claim.row + box[0].start, mask=remaining[box])


def united(kept: list[Node]) -> list[list[Node]]:
    """Group the nodes that agree, those of one class and the best agreement first.

    A group has as many tiles as nodes, the best node first.
    """
    groups = {node: [node] for node in kept}
    tiles = {node: {node.instance.tile.index} for node in kept}
    agreements = sorted(
        (node.instance.label != other.instance.label, -agreement, *sorted((node.order, other.order)), node, other)
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


def _class_of(nodes: list[Node]) -> int:
    """Return the class that most of the pixels of some instances, weighted by their scores, speak for."""
    votes: dict[int, float] = {}
    for node in nodes:
        votes[node.instance.label] = votes.get(node.instance.label, 0.0) + node.instance.score * node.instance.area
    return max(votes, key=lambda label: (votes[label], -label))


def _mean_score(nodes: list[Node]) -> float:
    """Return the mean score of instances, weighted by their pixels.

    A maximum would grow with the number of tiles that a building is cut into, and a long one would pass a threshold that a
    short one of the same quality misses.
    """
    if len(nodes) == 1:
        return nodes[0].instance.score
    scores = np.array([node.instance.score for node in nodes])
    areas = np.array([node.instance.area for node in nodes])
    # Equal scores stay what they were, to the last bit.
    return float(np.clip((scores * areas).sum() / areas.sum(), scores.min(), scores.max()))
