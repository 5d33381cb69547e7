"""Say how honest a data set is: what is wrong with its annotations, what it holds twice, what validation has of training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import shapely

from engine.job import Progress
from training.data.audit.duplicates import Pair, find_pairs, groups_of, read_pictures
from training.data.audit.split import Split, check_split, read_split

SHARED_GROUND = 0.01  # of an image's ground, from which it counts: neighbours may touch, coordinates are rounded


@dataclass
class Audit:
    """What is wrong with a data set. Images are numbered through all splits, those of the first one first.

    Attributes:
        splits: one or two.
        pairs: images that show the same.
        group: (N,) the lowest number of all images that show the same.
        shared_ground: pairs of images of both splits that lie on the same ground, and the share of the second's that does.
        seconds: that it took.
    """

    splits: list[Split]
    pairs: list[Pair] = field(default_factory=list)
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    shared_ground: list[tuple[int, int, float]] = field(default_factory=list)
    seconds: float = 0.0

    def start(self, split: int) -> int:
        """Return the number of a split's first image."""
        return sum(len(s.names) for s in self.splits[:split])

    def paths(self) -> list[Path]:
        """Return the files of all images, by their numbers."""
        return [split.path(index) for split in self.splits for index in range(len(split.names))]

    def place(self, number: int) -> tuple[int, int]:
        """Return split and index of an image."""
        for split, content in enumerate(self.splits):
            if number < len(content.names):
                return split, number
            number -= len(content.names)
        raise IndexError(number)

    def redundant(self, split: int) -> int:
        """Return how many images of a split show what an earlier one of it shows."""
        start = self.start(split)
        mine = self.group[start : start + len(self.splits[split].names)]
        return len(mine) - len(np.unique(mine))

    @property
    def leaked(self) -> np.ndarray:
        """Numbers of the images of the second split that show the same as one of the first."""
        border = self.start(1)
        return border + np.flatnonzero(np.isin(self.group[border:], self.group[:border]))

    def pairs_between(self) -> list[Pair]:
        """Return the pairs that lie in both splits."""
        border = self.start(1)
        return [pair for pair in self.pairs if pair.first < border <= pair.second]


def audit_dataset(
    train: str | Path,
    val: str | Path | None = None,
    *,
    outside_images: bool = False,
    workers: int | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancel: Event | None = None,
) -> Audit:
    """Audit a data set.

    Args:
        train: a folder with ``images/`` and ``annotation.json``, or one with two such folders ``train`` and ``val``.
        val: another such folder.
        outside_images: read images outside a split's folder too; otherwise to name one is a fault.
        workers: threads that read images; as many as there are cores by default.
        progress: called now and then.
        cancel: ends it.

    Raises:
        ArgumentError: a folder is none.
        CancelledError: ``cancel`` was set.
    """
    started = time.monotonic()
    audit = Audit([read_split(name, folder, outside=outside_images) for name, folder in find_splits(train, val)])
    paths = audit.paths()
    pictures = read_pictures(
        paths,
        workers=workers or os.cpu_count() or 1,
        outside=np.concatenate([split.outside for split in audit.splits]),
        progress=lambda done: progress(Progress(done, len(paths), unit="images", buildings=None)),
        cancel=cancel,
    )
    audit.pairs = find_pairs(pictures, cancel=cancel)
    audit.group = groups_of(audit.pairs, len(paths))
    files, blank = pictures.files, pictures.blank
    del pictures  # before annotations are checked, which takes as much memory
    for number, split in enumerate(audit.splits):
        start, stop = audit.start(number), audit.start(number + 1)
        check_split(split, files[start:stop], cancel)
        split.blank = int((blank[start:stop] & split.usable).sum())
    audit.shared_ground = _shared_ground(audit)
    _choose_drops(audit)
    audit.seconds = time.monotonic() - started
    return audit


def find_splits(train: str | Path, val: str | Path | None) -> list[tuple[str, Path]]:
    """Return name and folder of each split; a folder that holds ``train`` and ``val`` stands for both."""
    train = Path(train)
    if val is None and (train / "train").is_dir() and not any(train.glob("*.json")):
        return [("train", train / "train"), *([("val", train / "val")] if (train / "val").is_dir() else [])]
    return [("train", train), *([("val", Path(val))] if val is not None else [])]


def _shared_ground(audit: Audit) -> list[tuple[int, int, float]]:
    """Compare the ground of the two splits where the images say where they lie, in one CRS."""
    if len(audit.splits) < 2:
        return []
    found = []
    border = audit.start(1)
    first, second = audit.splits
    for crs in {place[0] for place in first.places if place} & {place[0] for place in second.places if place}:
        rows = [np.array([i for i, place in enumerate(s.places) if place and place[0] == crs]) for s in (first, second)]
        boxes = [shapely.polygons([s.places[i][1] for i in row]) for s, row in zip((first, second), rows, strict=True)]
        one, other = shapely.STRtree(boxes[1]).query(boxes[0], predicate="intersects")
        shares = shapely.area(shapely.intersection(boxes[0][one], boxes[1][other])) / np.maximum(
            shapely.area(boxes[1][other]), 1e-300
        )
        kept = shares > SHARED_GROUND
        found += zip(rows[0][one[kept]].tolist(), (border + rows[1][other[kept]]).tolist(), shares[kept].tolist(), strict=True)
    return sorted(found)


def _choose_drops(audit: Audit) -> None:
    """Mark what a clean copy leaves out.

    Of images that show the same one stays: in validation if one is there, so that figures on it stay comparable, else in
    training; the one with most annotations, of those the first.
    """
    counts = np.concatenate([split.annotation_counts for split in audit.splits])
    usable = np.concatenate([split.usable for split in audit.splits])
    is_val = np.arange(len(counts)) >= audit.start(1)
    keep = usable.copy()
    order = np.lexsort((np.arange(len(counts)), -counts, ~is_val, ~usable, audit.group))
    if len(order):
        keep[order[1:][audit.group[order][1:] == audit.group[order][:-1]]] = False
    for first, second, _ in audit.shared_ground:
        if keep[second]:
            keep[first] = False
    for number, split in enumerate(audit.splits):
        split.drop = ~keep[audit.start(number) : audit.start(number + 1)]
