"""Write a data set again without what an audit found wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from threading import Event

import numpy as np
import shapely
from PIL import Image

from engine.job import Progress
from training.data.audit.audit import Audit
from training.data.audit.duplicates import stop_if
from training.data.audit.split import Split
from training.data.coco.image_files import read_rgb
from training.data.coco.layout import ignore_rings
from training.data.coco.outlines import DECIMALS, polygon_of_rings
from training.data.coco.stream import BEGINNING, walk
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

    Images are copied byte for byte, but those that are not red, green and blue are stored anew as that. Left out are those
    that cannot be used, of those that show the same all but one, and of training whatever shows or shares ground with
    validation. Annotations are repaired as ``coco.faults.FAULTS`` says, so that a training finds nothing to repair.

    Raises:
        OutputError: the folder exists, or cannot be written.
        CancelledError: ``cancel`` was set; nothing is left behind.
    """
    written = []
    total, done = sum(int((~split.drop).sum()) for split in audit.splits), 0

    def report() -> None:
        nonlocal done
        stop_if(cancel)
        done += 1
        progress(Progress(done, total, unit="images", buildings=None))

    with finished_folder(output) as folder:
        for split in audit.splits:
            name = split.name if len(audit.splits) > 1 else ""
            info = {**split.reader.info, "cleaned_by": "maskdino audit-dataset"}
            with CocoWriter(folder / name, info, list(split.reader.categories.values())) as writer:
                _write_images(split, writer, report)
                _write_annotations(split, writer, cancel)
            written.append(Clean(str(Path(output, name)), writer.image_count, writer.annotation_count))
    return written


def _write_images(split: Split, writer: CocoWriter, report: Callable[[], None]) -> None:
    """Write the images that stay, each once, with their entries as far as these are right."""
    names = _new_names(split)
    for _, item in walk(split.reader.file, {"images"}):
        identity = item.get("id") if isinstance(item, dict) else None
        number = split.reader.image_of.get(identity) if isinstance(identity, (int, str)) else None
        if number not in names or item.get("file_name") != split.names[number]:
            continue
        entry = {**item, "file_name": names.pop(number)}
        image = split.reader.images[number]
        if (item.get("width"), item.get("height")) != (image.width, image.height):
            entry |= {"width": image.width, "height": image.height}
        sound, malformed = ignore_rings(item)
        if malformed:
            entry["ignore"] = sound
        report()
        if split.files[number].mode == "RGB":
            shutil.copyfile(split.path(number), writer.images / entry["file_name"])
        else:
            Image.fromarray(read_rgb(image)).save(writer.images / entry["file_name"])
        writer.add_image(entry)


def _write_annotations(split: Split, writer: CocoWriter, cancel: Event | None) -> None:
    annotations, checked = split.reader.annotations, split.checked
    kept = split.kept & ~np.append(split.drop, True)[annotations.owners]
    another_outline = split.mended | checked.has("malformed_ring")
    another_box, another_area = (split.mended | checked.has(fault) for fault in ("wrong_box", "wrong_area"))
    row = 0
    for _, item in walk(split.reader.file, {"annotations"}):
        if item is BEGINNING:
            continue
        stop_if(cancel)
        if kept[row]:
            image = split.reader.images[annotations.owners[row]]
            entry = {**item, "id": writer.annotation_count + 1, "image_id": image.id}
            bounds, area = checked.measures.bounds[row], checked.measures.areas[row]
            if another_outline[row]:
                entry["segmentation"] = split.mended_rings(row)
                polygon = polygon_of_rings(entry["segmentation"])
                bounds, area = shapely.bounds(polygon), polygon.area
            if another_box[row]:
                entry["bbox"] = np.round([*bounds[:2], *(bounds[2:] - bounds[:2])], DECIMALS).tolist()
            if another_area[row]:
                entry["area"] = round(float(area), DECIMALS)
            writer.add_annotation(entry)
        row += 1


def _new_names(split: Split) -> dict[int, str]:
    """Return file names without folders, each once, by the number of the image; upper and lower case are the same here."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for number in np.flatnonzero(~split.drop).tolist():
        path = Path(split.names[number])
        if split.files[number].mode != "RGB":
            path = path.with_suffix(".png")
        numbered = (f"{path.stem}-{again}{path.suffix}" for again in count(number))
        names[number] = next(each for each in chain([path.name], numbered) if each.casefold() not in taken)
        taken.add(names[number].casefold())
    return names
