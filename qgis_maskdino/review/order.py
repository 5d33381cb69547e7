"""The order in which detections are reviewed. Plain Python: it knows neither layers nor widgets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

OPEN = ""
ACCEPTED = "accepted"
REJECTED = "rejected"
STATUSES = (OPEN, ACCEPTED, REJECTED)
_BEFORE_ALL = -(2**63)  # no feature id is smaller


class ReviewOrder:
    """Detections sorted by score within each status, so that no step of a review looks at all of them.

    A step costs one search in a sorted list and one insertion, also among 100,000 detections.

    Args:
        detections: feature id, score and status of each.
    """

    def __init__(self, detections: Iterable[tuple[int, float, str]] = ()) -> None:
        self._entries: dict[int, tuple[float, str]] = {}
        self._sorted: dict[str, list[tuple[float, int]]] = {status: [] for status in STATUSES}
        for fid, score, status in detections:
            self._entries[fid] = (score, status)
            self._sorted[status].append((score, fid))
        for entries in self._sorted.values():
            entries.sort()

    def __contains__(self, fid: int) -> bool:
        return fid in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def range(self) -> tuple[float, float]:
        """Return the lowest and the highest score; there is at least one detection."""
        ends = [score for entries in self._sorted.values() if entries for score, _ in (entries[0], entries[-1])]
        return min(ends), max(ends)

    def score(self, fid: int) -> float:
        """Return the score of a detection."""
        return self._entries[fid][0]

    def status(self, fid: int) -> str:
        """Return the status of a detection."""
        return self._entries[fid][1]

    def put(self, fid: int, score: float, status: str) -> None:
        """Add a detection, or change the one that is there."""
        self.remove(fid)
        self._entries[fid] = (score, status)
        insort(self._sorted[status], (score, fid))

    def remove(self, fid: int) -> None:
        """Forget a detection; one that is not there is none to forget."""
        if fid in self._entries:
            score, status = self._entries.pop(fid)
            entries = self._sorted[status]
            del entries[bisect_left(entries, (score, fid))]

    def count(self, status: str, at_least: float = float("-inf")) -> int:
        """Return how many detections of a status have at least a score."""
        return len(self._sorted[status]) - self._start(status, at_least)

    def fids(self, status: str, at_least: float = float("-inf")) -> list[int]:
        """Return the detections of a status that have at least a score, by score."""
        return [fid for _, fid in self._sorted[status][self._start(status, at_least) :]]

    def next_open(self, at_least: float, *, after: int | None = None) -> int | None:
        """Return the open detection in most doubt: the one whose score is the closest above the threshold.

        Args:
            at_least: the threshold.
            after: a detection; the next one in order is returned, and after the last the first again.
        """
        entries, first = self._sorted[OPEN], self._start(OPEN, at_least)
        if first == len(entries):
            return None
        place = first
        if after in self._entries:
            place = max(first, bisect_right(entries, (self._entries[after][0], after)))
        return entries[place if place < len(entries) else first][1]

    def _start(self, status: str, at_least: float) -> int:
        return bisect_left(self._sorted[status], (at_least, _BEFORE_ALL))
