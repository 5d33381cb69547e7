"""Write a data set again without what an audit found wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from threading import Event
from typing import Any

from engine.job import Progress
from training.data.audit.audit import Audit
from training.data.audit.duplicates import stop_if
from training.data.audit.split import Split, ignore_rings
from training.data.audit.stream import walk
from training.data.export.writer import CocoWriter, finished_folder


@dataclass(frozen=True)
class Clean:
    """What was written of a split."""

    folder: str
    images: int
    annotations: int


def write_clean(
    audit: Audit,
    output: str | Path,
    *,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancel: Event | None = None,
) -> list[Clean]:
    """Write a clean copy: ``train`` and ``val`` below a new folder, or one data set where there is one split.

    Images are copied byte for byte. Left out are those that cannot be used, of those that show the same all but one, and of
    training whatever shows or shares ground with validation. Annotations are mended as ``audit_annotations`` says.

    Raises:
        OutputError: the folder exists, or cannot be written.
        CancelledError: ``cancel`` was set; nothing is left behind.
    """
    written = []
    total, done = sum(int((~split.drop).sum()) for split in audit.splits), 0
    with finished_folder(output) as folder:
        for split in audit.splits:
            name = split.name if len(audit.splits) > 1 else ""
            info, categories = _head(split)
            with CocoWriter(folder / name, info, categories) as writer:
                names = _new_names(split)
                kept = {split.ids[index] for index in names}
                for key, entry in _kept_images(split, names):
                    stop_if(cancel)
                    shutil.copyfile(split.path(key), writer.images / entry["file_name"])
                    writer.add_image(entry)
                    done += 1
                    progress(Progress(done, total, unit="images", buildings=None))
                checker = split.checker()
                for _, item in walk(split.annotation_file, {"annotations"}):
                    stop_if(cancel)
                    mended = None if item is None else checker.check(item).mended
                    if mended is not None and mended["image_id"] in kept:
                        writer.add_annotation({**mended, "id": writer.annotation_count + 1})
            written.append(Clean(str(Path(output, name)), writer.image_count, writer.annotation_count))
    return written


def _head(split: Split) -> tuple[dict[str, Any], list[dict]]:
    info: dict[str, Any] = {}
    categories = []
    for key, item in walk(split.annotation_file, {"info", "categories"}):
        if key == "info" and isinstance(item, dict):
            info = item
        elif key == "categories" and isinstance(item, dict):
            categories.append(item)
    return {**info, "cleaned_by": "maskdino audit-dataset"}, categories


def _new_names(split: Split) -> dict[int, str]:
    """Return file names without folders, each once, by the index of the image; upper and lower case are the same here."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for index, name in enumerate(split.names):
        if not split.drop[index]:
            path = Path(name)
            numbered = (f"{path.stem}-{number}{path.suffix}" for number in count(index))
            names[index] = next(each for each in chain([path.name], numbered) if each.casefold() not in taken)
            taken.add(names[index].casefold())
    return names


def _kept_images(split: Split, names: dict[int, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield index and entry of the images that stay, as the file has them but for names and malformed ``ignore`` rings."""
    number_of = {identity: index for index, identity in enumerate(split.ids)}
    for _, item in walk(split.annotation_file, {"images"}):
        index = number_of.get(item.get("id")) if isinstance(item, dict) and isinstance(item.get("id"), (int, str)) else None
        if index in names and item["file_name"] == split.names[index]:
            unlabelled, malformed = ignore_rings(item)
            yield index, {**item, "file_name": names.pop(index), **({"ignore": unlabelled} if malformed else {})}
