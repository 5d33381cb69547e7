"""Cut rings into edges at the least cost: a dynamic programme over the points where an edge may begin, many rings at once.

An edge runs along the polygon's main direction, across it, or obliquely. It costs a price, by its kind, and the squared
distance between it and the outline that it stands for; no two edges of the same direction follow one another. The cheapest
partition is the shortest description of the outline (Rissanen 1978, Modeling by shortest data description): a further corner
has to pay for itself by what it explains. Costs are in units of the price of an edge along a main direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.detection.polygons.rings import Scatter

ALONG, ACROSS, OBLIQUE = 0, 1, 2

PRICES = (1.0, 1.0, 4.5)
"""Of an edge of each kind. Buildings have right angles unless an oblique edge explains much."""

OBLIQUE_FROM = math.radians(10)
"""Least angle between an oblique edge and either direction: what is nearer to a right angle becomes one."""

SHORTEST_EDGE = 2.0
"""Pixels between the ends of an edge, in its direction, at least."""

_NEVER = 1 << 28
_NOT_TWICE = np.diag([_NEVER, _NEVER, 0]).astype(np.int32)  # by kind of an edge and kind of the one before it
_UNITS = 1024  # costs are added up as whole numbers, so that equal sums are equal in any order
_SPANS_AT_ONCE = 1 << 15  # some ten megabytes, little enough for a processor's cache to help


@dataclass
class Edges:
    """Edges of rings, those of a ring one after the other.

    Attributes:
        ring: (E,) the ring of each, in increasing order.
        kind: (E,) ``ALONG``, ``ACROSS`` or ``OBLIQUE``.
        start: (E, 2) where the outline that each stands for begins.
        moments: (E, 6) of that outline.
    """

    ring: np.ndarray
    kind: np.ndarray
    start: np.ndarray
    moments: np.ndarray

    def __len__(self) -> int:
        return len(self.ring)

    def __getitem__(self, which: np.ndarray) -> Edges:
        return Edges(self.ring[which], self.kind[which], self.start[which], self.moments[which])

    @classmethod
    def joined(cls, parts: list[Edges]) -> Edges:
        """Put edges together, in the order of their rings; no ring has edges in two parts."""
        if not parts:
            return cls(np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros((0, 2)), np.zeros((0, 6)))
        fields = ((part.ring, part.kind, part.start, part.moments) for part in parts)
        ring, kind, start, moments = (np.concatenate(field) for field in zip(*fields, strict=True))
        return cls(ring, kind, start, moments)[np.argsort(ring, kind="stable")]

    @property
    def length(self) -> np.ndarray:
        """(E,) of the outline that each stands for."""
        return self.moments[:, 0]

    @property
    def centre(self) -> np.ndarray:
        """(E, 2) of that outline."""
        return self.moments[:, 1:3] / self.length[:, None]

    @property
    def scatter(self) -> Scatter:
        """Of that outline."""
        return Scatter.of(self.moments.T)


class Spans:
    """Everything that an edge may stand for: the outline from any break point of a ring to any other.

    The rings of one object have about as many break points, N at most. Arrays (R, N, N) are by ring, by the break point where a
    span begins, and by one less than the number of sections between break points that it goes on for.
    """

    def __init__(self, rings: np.ndarray, counts: np.ndarray, points: np.ndarray, moments: np.ndarray) -> None:
        """Prepare spans.

        Args:
            rings: (R,) their numbers.
            counts: (R,) how many break points each has.
            points: (R, N, 2) these.
            moments: (R, N, 6) of the outline between each and the next.
        """
        self.rings, self._counts, self._points = rings, counts, points
        size = points.shape[1]
        round_twice = (np.arange(2 * size) % counts[:, None])[..., None]
        sums = np.cumsum(np.take_along_axis(moments, round_twice, axis=1), axis=1)
        self._sums = np.concatenate([np.zeros_like(sums[:, :1]), sums], axis=1)  # (R, 2 N + 1, 6)

        begin, more = np.arange(size)[:, None], np.arange(size)
        end = begin + more + 1
        sums = np.ascontiguousarray(np.moveaxis(self._sums, 2, 0))
        spans = sums[:, :, end] - sums[:, :, :size, None]
        # No edge is as long as all others together. Without this rule, two edges would do for a small ring.
        half = self._sums[np.arange(len(rings)), counts, 0] / 2
        self._impossible = (np.maximum(begin, more) >= counts[:, None, None]) | (spans[0] > half[:, None, None] - 1e-6)
        spans[0] = np.maximum(spans[0], 1e-6)  # nothing is divided by zero, where no span is possible
        self._scatter = Scatter.of(spans)
        x, y = np.moveaxis(np.take_along_axis(points, round_twice, axis=1), 2, 0)
        self._chords = np.stack([np.append(c, c[:, :1], axis=1)[:, end] - c[:, :size, None] for c in (x, y)])

    @classmethod
    def of(cls, ring: np.ndarray, points: np.ndarray, moments: np.ndarray) -> list[Spans]:
        """Prepare the spans of rings, a bounded number at a time.

        Args:
            ring: (B,) the ring of each break point, every ring having some.
            points: (B, 2) the break points, in order.
            moments: (B, 6) of the outline between each and the next.
        """
        counts = np.bincount(ring)
        nth = np.arange(len(ring)) - np.repeat(np.cumsum(counts) - counts, counts)
        by_count = np.argsort(counts, kind="stable")
        result = []
        while len(by_count):
            # Rings with about as many break points share arrays.
            sizes = counts[by_count]
            fit = max(1, int(np.searchsorted(np.arange(1, len(sizes) + 1) * sizes**2, _SPANS_AT_ONCE, side="right")))
            some, by_count = np.sort(by_count[:fit]), by_count[fit:]
            row = np.full(len(counts), -1)
            row[some] = np.arange(len(some))
            here = row[ring] >= 0
            table = np.zeros((len(some), sizes[fit - 1], 8))
            table[row[ring[here]], nth[here]] = np.concatenate([points, moments], axis=1)[here]
            result.append(cls(some, counts[some], table[..., :2], table[..., 2:]))
        return result

    def __len__(self) -> int:
        return len(self.rings)

    def __getitem__(self, which: np.ndarray) -> Spans:
        """Return the spans of some of the rings."""
        some = object.__new__(Spans)
        some.rings, some._counts, some._points = self.rings[which], self._counts[which], self._points[which]
        some._sums, some._impossible = self._sums[which], self._impossible[which]
        some._scatter = Scatter(self._scatter.trace[which], self._scatter.lean[:, which])
        some._chords = self._chords[:, which]
        return some

    def partitioned(self, along: np.ndarray, across: np.ndarray, scale: np.ndarray, *, oblique: bool) -> Edges:
        """Cut each ring into edges at the least cost.

        Args:
            along, across: (R,) angles of the two directions of each ring.
            scale: (R,) squared distance, integrated along the outline, that costs as much as an edge; in cubic pixels.
            oblique: whether there may be oblique edges.

        Returns:
            The edges; none of a ring that cannot be cut.
        """
        costs = self._costs(along, across, scale, oblique=oblique)
        # A programme has a corner wherever it begins. The second one begins at a corner that the first one has found about half
        # way round, and ends there with the same kind of edge.
        first = _Programme(costs, np.zeros(len(self), dtype=int), self._counts)
        begin, last = first.half_way()
        ring, start, stop, kind = _Programme(costs, begin, self._counts, last=last).edges()
        closed = np.bincount(ring, minlength=len(self))[ring] >= 3
        ring, kind = ring[closed], kind[closed]
        start, stop = (index[closed] + begin[ring] for index in (start, stop))
        moments = self._sums[ring, stop] - self._sums[ring, start]
        return Edges(self.rings[ring], kind, self._points[ring, start % self._counts[ring]], moments)

    def _costs(self, along: np.ndarray, across: np.ndarray, scale: np.ndarray, *, oblique: bool) -> np.ndarray:
        """Return what each span costs as an edge of each kind: (2 or 3, R, N, N) int32."""
        costs = np.empty((3 if oblique else 2, *self._impossible.shape), dtype=np.int32)
        trace, (lean_x, lean_y), (dx, dy) = self._scatter.trace, self._scatter.lean, self._chords
        unit = (_UNITS / 2 / scale)[:, None, None]
        size = np.hypot(lean_x, lean_y)

        def set_costs(kind: int, lean: np.ndarray, never: np.ndarray) -> None:
            cost = (trace - lean) * unit + PRICES[kind] * _UNITS
            cost[never] = _NEVER
            costs[kind] = np.rint(np.minimum(cost, _NEVER))

        regular = self._impossible
        for kind, angle in ((ALONG, along), (ACROSS, across)):
            c, s, c2, s2 = (f(n * angle)[:, None, None] for n in (1, 2) for f in (np.cos, np.sin))
            lean = lean_x * c2 + lean_y * s2
            set_costs(kind, lean, self._impossible | (np.abs(dx * c + dy * s) < SHORTEST_EDGE))
            regular = regular | (lean > math.cos(2 * OBLIQUE_FROM) * size)
        if oblique:
            set_costs(OBLIQUE, size, regular | (dx * dx + dy * dy < SHORTEST_EDGE**2))
        return costs


class _Programme:
    """The cheapest way round rings, from one break point of each back to it."""

    def __init__(self, costs: np.ndarray, begin: np.ndarray, counts: np.ndarray, *, last: np.ndarray | None = None) -> None:
        """Find it.

        Args:
            costs: (K, R, N, N) of each span as an edge of each kind.
            begin: (R,) the break point to begin with.
            counts: (R,) of break points.
            last: (R,) kind of the edge that ends where the first one begins; None for whichever is cheapest.
        """
        kinds, rings, size, _ = costs.shape
        self._begin, self._counts, self._last = begin, counts, last
        self._row = np.arange(rings)
        # Of the cheapest edges from the first break point to each, the last of them of each kind: what they cost, where the
        # last one starts, and of what kind the one before is.
        self._cost = np.full((kinds, rings, size + 1), _NEVER, dtype=np.int32)
        self._start = np.zeros((kinds, rings, size + 1), dtype=np.int16)
        self._before = np.zeros((kinds, rings, size + 1), dtype=np.int8)
        self._cost[:, :, 0] = 0 if last is None else np.where(np.arange(kinds)[:, None] == last, 0, _NEVER)
        for step in range(size):
            so_far = self._cost[:, :, step] + _NOT_TWICE[:kinds, :kinds, None]  # (K, K, R) by the next kind and the last
            self._before[:, :, step] = so_far.argmin(axis=1)
            cost = costs[:, self._row, (begin + step) % counts, : size - step]
            cost += so_far.min(axis=1)[:, :, None]
            cheapest = self._cost[:, :, step + 1 :]
            better = cost < cheapest
            np.copyto(cheapest, cost, where=better)
            np.copyto(self._start[:, :, step + 1 :], step, where=better)

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the ring of each edge, the break points from the first one where it starts and stops, and its kind."""
        at, found = self._counts.copy(), [np.zeros((4, 0), dtype=int)]
        ends = self._cost[:, self._row, at]
        kind = ends.argmin(axis=0) if self._last is None else self._last.copy()
        rest = np.flatnonzero(ends[kind, self._row] < _NEVER)
        while len(rest):
            stop, now = at[rest], kind[rest]
            start = self._start[now, rest, stop]
            found.append(np.stack([rest, start, stop, now]))
            at[rest], kind[rest] = start, self._before[now, rest, start]
            rest = rest[start > 0]
        ring, start, stop, kind = np.concatenate(found, axis=1)
        order = np.lexsort([start, ring])
        return ring[order], start[order], stop[order], kind[order]

    def half_way(self) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each ring, the break point nearest to half way round where an edge ends, and the kind of that edge."""
        ring, _, stop, kind = self.edges()
        order = np.lexsort([np.abs(2 * stop - self._counts[ring]), ring])
        nearest = order[np.flatnonzero(np.diff(ring[order], prepend=-1))]
        begin, last = self._begin.copy(), np.zeros_like(self._begin)
        begin[ring[nearest]] += stop[nearest]
        last[ring[nearest]] = kind[nearest]
        return begin % self._counts, last
