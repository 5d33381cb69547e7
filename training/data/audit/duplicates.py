"""Find pictures that show the same, among hundreds of thousands, without comparing each with each.

Two hashes that differ in few bits agree on one of several bands of 16 bits entirely (the pigeonhole principle; Manku, Jain
and Das Sarma, "Detecting near-duplicates for web crawling", 2007). So the hashes are sorted by each band in turn, and only
those that share a band are compared: first by their hashes, then by their thumbnails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
from PIL import Image

from engine.errors import CancelledError
from training.data.audit.perceptual_hash import (
    HASH_BITS,
    ORIENTATIONS,
    SIDE,
    hash_orientations,
    is_blank,
    likeness,
    orient,
    read_thumbnail,
)
from training.data.coco.image_files import ImageFile, look_at_file

# Measured on tiles of five places and synthetic towns: copies stored as JPEG of quality 30, resized, brightened, turned or with
# noise differ in 5 bits at most and have a likeness over 0.98; copies cropped by 1 % a side 8 bits and 0.87. Of pictures of
# different ground the nearest differ in 15 bits, the likest have 0.34.
MAX_DIFFERENT_BITS = 12
MIN_LIKENESS = 0.6
BAND_BITS = 16
BANDS = 8  # that overlap by half
LARGEST_BUCKET = 128  # pictures of which each is compared with each; in larger ones each with its neighbours by hash
NEIGHBOURS = 16  # on each side
AT_ONCE = 256  # pictures read before they are hashed together
COMPARED_AT_ONCE = 1 << 20  # hashes
PAIRS_AT_ONCE = 2048  # thumbnails
_OUTSIDE = ImageFile(fault="outside_folder", words="was not read"), None


@dataclass(frozen=True)
class Pair:
    """Two pictures that show the same.

    Attributes:
        first, second: their numbers, ``first`` the lower one.
        orientation: the way, by ``perceptual_hash.orient``, in which ``first`` has to be turned to look like ``second``.
        bits: by which their hashes differ.
        likeness: 0..1.
    """

    first: int
    second: int
    orientation: int
    bits: int
    likeness: float


@dataclass
class Pictures:
    """What is known of many pictures.

    Attributes:
        hashes: (N, 8) uint64.
        thumbnails: (N, SIDE, SIDE) uint8.
        blank: (N,) bool, nothing to be seen.
        files: what was seen of each, faults too; empty for pictures that are in no file.
    """

    hashes: np.ndarray
    thumbnails: np.ndarray
    blank: np.ndarray
    files: list[ImageFile] = field(default_factory=list)


def read_pictures(
    paths: Sequence[Path],
    *,
    workers: int,
    outside: np.ndarray | None = None,
    progress: Callable[[int], None] = lambda done: None,
    cancel: Event | None = None,
) -> Pictures:
    """Read and hash pictures, a few at a time.

    Args:
        paths: of the pictures.
        workers: threads.
        outside: (N,) bool, pictures outside the data set's folder, which are not to be read.
        progress: called with the number of pictures read so far.
        cancel: ends it.

    Raises:
        CancelledError: ``cancel`` was set.
    """
    count = len(paths)
    pictures = Pictures(
        np.zeros((count, ORIENTATIONS), np.uint64), np.zeros((count, SIDE, SIDE), np.uint8), np.ones(count, bool)
    )

    def read(number: int) -> tuple[ImageFile, np.ndarray | None]:
        if cancel is not None and cancel.is_set():  # large pictures take a second each
            return ImageFile(), None
        return _OUTSIDE if outside is not None and outside[number] else _read(paths[number])

    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, count, AT_ONCE):
            stop_if(cancel)
            stop = min(start + AT_ONCE, count)
            for number, (file, thumbnail) in enumerate(pool.map(read, range(start, stop)), start=start):
                pictures.files.append(file)
                if thumbnail is not None:
                    pictures.thumbnails[number] = thumbnail
            part = pictures.thumbnails[start:stop]
            pictures.hashes[start:stop] = hash_orientations(part)
            pictures.blank[start:stop] = is_blank(part)
            progress(stop)
    stop_if(cancel)
    return pictures


def stop_if(cancel: Event | None) -> None:
    """End what is going on if it was cancelled.

    Raises:
        CancelledError: ``cancel`` was set.
    """
    if cancel is not None and cancel.is_set():
        raise CancelledError("cancelled; nothing was written.")


def _read(path: Path) -> tuple[ImageFile, np.ndarray | None]:
    file = look_at_file(path)
    if not file.usable:
        return file, None
    try:
        return file, read_thumbnail(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow raises all of them
        return ImageFile(fault="unreadable", words=f"cannot be read: {error}"), None


def find_pairs(pictures: Pictures, *, cancel: Event | None = None) -> list[Pair]:
    """Find the pictures that show the same, in any of the eight orientations; blank ones are left out.

    Where several show the same, all hang together by pairs, most of them with the first one, but not every two are named: of
    a thousand copies that would be half a million.

    Raises:
        CancelledError: ``cancel`` was set.
    """
    numbers = np.flatnonzero(~pictures.blank)
    canonical = pictures.hashes[numbers].min(axis=1)
    # Exact copies, in any orientation: each is compared with the first alone.
    order = np.lexsort((numbers, canonical))
    is_first = np.r_[True, canonical[order][1:] != canonical[order][:-1]] if len(order) else np.zeros(0, bool)
    group = np.cumsum(is_first) - 1
    leaders = numbers[order[is_first]]
    members = np.flatnonzero(~is_first)
    groups = Groups(len(pictures.hashes))
    pairs = _compare(pictures, leaders[group[members]], numbers[order[members]], groups, cancel)
    # A copy of the hash that does not look like the first of them is looked at like any other picture.
    matched = {pair.second for pair in pairs}
    alone = [number for number in numbers[order[members]].tolist() if number not in matched]
    entering = np.sort(np.r_[leaders, np.array(alone, dtype=leaders.dtype)])
    pairs += _compare(pictures, *_candidates(pictures.hashes, entering, cancel), groups, cancel)
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def find_leakage(train: Sequence[Path], val: Sequence[Path], *, workers: int = 1) -> list[tuple[Path, Path]]:
    """Return each validation picture that shows the same as one of training, with that one; unreadable ones are left out."""
    paths = [*train, *val]
    group = groups_of(find_pairs(read_pictures(paths, workers=workers)), len(paths))
    # A group has the number of its first picture, which is one of training where any is.
    return [(paths[n], paths[group[n]]) for n in range(len(train), len(paths)) if group[n] < len(train)]


def groups_of(pairs: Sequence[Pair], count: int) -> np.ndarray:
    """Give pictures that hang together by pairs one number, the lowest of theirs: (count,) int64."""
    groups = Groups(count)
    for pair in pairs:
        groups.join(pair.first, pair.second)
    return np.array([groups.root(number) for number in range(count)], dtype=np.int64)


class Groups:
    """Which of many numbers hang together (union-find); a group is known by its lowest number."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, number: int) -> int:
        """Return the lowest number of a number's group."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def join(self, first: int, second: int) -> None:
        """Make one group of two."""
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low


def _candidates(hashes: np.ndarray, numbers: np.ndarray, cancel: Event | None) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of numbers, the lower one first, whose hashes share a band in some orientation and differ in few bits."""
    keys = [np.zeros(0, np.int64)]
    for band in range(BANDS):
        upright = _rotated(hashes[numbers, 0], band)
        order = np.argsort(upright, kind="stable")
        index = upright[order]
        for orientation in range(ORIENTATIONS):
            stop_if(cancel)
            wanted = _rotated(hashes[numbers, orientation], band)
            for query, place in _within_bucket(index, wanted):
                found = order[place]
                # The other way round the pair is met again, by the inverse orientation.
                near = (query < found) & (bit_count(wanted[query] ^ index[place]) <= MAX_DIFFERENT_BITS)
                keys.append(query[near] * len(numbers) + found[near])
    first, second = np.divmod(np.unique(np.concatenate(keys)), max(len(numbers), 1))
    return numbers[first], numbers[second]


def _rotated(hashes: np.ndarray, band: int) -> np.ndarray:
    """Bring a band to the top: sorted, hashes that agree on it are together, and those next to one another agree on more."""
    turn = np.uint64(band * HASH_BITS // BANDS)
    return hashes if not turn else (hashes << turn) | (hashes >> (np.uint64(HASH_BITS) - turn))


def _within_bucket(index: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield numbers of queries, and for each the places in a sorted index that share its bucket."""
    rest = np.uint64(HASH_BITS - BAND_BITS)
    low = np.searchsorted(index, wanted >> rest << rest, side="left")
    high = np.searchsorted(index, wanted | ((np.uint64(1) << rest) - np.uint64(1)), side="right")
    large = high - low > LARGEST_BUCKET
    if large.any():
        middle = np.searchsorted(index, wanted)
        low = np.where(large, np.maximum(low, middle - NEIGHBOURS), low)
        high = np.where(large, np.minimum(high, middle + NEIGHBOURS), high)
    ends = np.cumsum(high - low)
    start = 0
    while start < len(wanted):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + COMPARED_AT_ONCE, side="right")))
        lengths = (high - low)[start:stop]
        query = np.repeat(np.arange(start, stop), lengths)
        yield query, np.arange(len(query)) - np.repeat(ends[start:stop] - lengths - before - low[start:stop], lengths)
        start = stop


def _compare(pictures: Pictures, first: np.ndarray, second: np.ndarray, groups: Groups, cancel: Event | None) -> list[Pair]:
    """Look at the thumbnails of pairs that do not hang together yet, and keep those that show the same."""
    pairs = []
    for start in range(0, len(first), PAIRS_AT_ONCE):
        stop_if(cancel)
        part = np.stack([first[start : start + PAIRS_AT_ONCE], second[start : start + PAIRS_AT_ONCE]], axis=1)
        a, b = part[[groups.root(one) != groups.root(other) for one, other in part.tolist()]].T
        bits = bit_count(pictures.hashes[a] ^ pictures.hashes[b, :1])  # (N, 8)
        best = bits.argmin(axis=1)
        turned = pictures.thumbnails[a]
        for orientation in range(1, ORIENTATIONS):
            chosen = best == orientation
            turned[chosen] = orient(turned[chosen], orientation)
        alike = likeness(turned, pictures.thumbnails[b])
        for row in np.flatnonzero(alike >= MIN_LIKENESS):
            way = int(best[row])
            pairs.append(Pair(int(a[row]), int(b[row]), way, int(bits[row, way]), round(float(alike[row]), 4)))
            groups.join(pairs[-1].first, pairs[-1].second)
    return pairs


def bit_count(numbers: np.ndarray) -> np.ndarray:
    """Count the ones in uint64 numbers (numpy has this from 2.0 on)."""
    ones = [np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)]
    numbers = numbers - ((numbers >> np.uint64(1)) & ones[0])
    numbers = (numbers & ones[1]) + ((numbers >> np.uint64(2)) & ones[1])
    numbers = (numbers + (numbers >> np.uint64(4))) & ones[2]
    return ((numbers * ones[3]) >> np.uint64(56)).astype(np.int64)
