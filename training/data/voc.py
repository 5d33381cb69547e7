"""Read data sets in the layout of Pascal VOC, as the entries of the COCO file that would say the same.

Everingham et al. 2010, The PASCAL VOC Challenge; the development kit of VOC2012, section 4. ``Annotations/NAME.xml`` lists the
objects of a picture, ``JPEGImages/NAME.jpg`` is the picture, and ``SegmentationObject/NAME.png`` has the pixels of the objects
by their numbers, from 1 on in the order of the list. 0 is background, 255 the strip around objects that belongs to none.
``SegmentationClass`` repeats the classes of the list, and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from engine.files.input_file import refuse_special
from training.data.coco.folder import CocoFolder
from training.data.coco.stream import BEGINNING
from training.data.label_pictures import read_labels

_VOID = 255
_LARGEST_LIST = 1 << 24  # bytes; the lists of objects of VOC have some thousands
_PICTURES = (".jpg", ".jpeg", ".JPG", ".png", ".tif", ".tiff", ".webp", ".bmp")
_BOX = ("xmin", "ymin", "xmax", "ymax")


class VocFolder(CocoFolder):
    """A folder in the layout of Pascal VOC; like a COCO folder once it is open.

    Args:
        folder: holds ``Annotations``, ``JPEGImages`` and ``SegmentationObject``.
        split: the pictures named in ``ImageSets/Segmentation/SPLIT.txt``; None takes all whose objects are drawn.
        complete: as `CocoFolder` has it.

    Raises:
        ArgumentError: a file is not there or cannot be read, or objects are drawn that are not listed.
    """

    def __init__(self, folder: str | Path, *, split: str | None = None, complete: bool = False) -> None:
        folder = Path(folder)
        listed = folder / "Annotations" if split is None else _split_file(folder, split)
        names = _drawn_pictures(folder) if split is None else _named_pictures(listed)
        if not names:
            raise ArgumentError(f"{listed} lists no pictures whose objects are drawn.", hint="Check the data set.")
        self._open(listed, folder / "JPEGImages", complete=complete, entries=voc_entries(folder, names))


def voc_entries(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a COCO file, as `training.data.coco.stream.walk` does: each category is named by its class.

    Difficult objects, which VOC leaves out of its figures, are crowds.

    Raises:
        ArgumentError: as `VocFolder`.
    """
    categories: dict[str, None] = {}
    ids = count(1)
    yield "images", BEGINNING
    yield "annotations", BEGINNING
    for name in names:
        listed = _objects(folder / "Annotations" / f"{name}.xml")
        path = folder / "SegmentationObject" / f"{name}.png"
        drawn = read_labels(path)
        beyond = np.unique(drawn[(drawn > len(listed)) & (drawn != _VOID)])
        if len(beyond):
            raise ArgumentError(
                f"{path} shows an object with the number {beyond[0]}; {name}.xml lists {len(listed)}.",
                hint="Objects are numbered from 1 on, in the order of the list.",
            )
        yield "images", {"id": name, "file_name": _picture(folder / "JPEGImages", name),
                         "height": drawn.shape[0], "width": drawn.shape[1]}  # fmt: skip
        for number, entry in enumerate(listed, start=1):
            categories[entry["category_id"]] = None
            yield "annotations", {**entry, **_outline(drawn == number), "id": next(ids), "image_id": name}
    for category in categories:
        yield "categories", {"id": category, "name": category}


def _outline(pixels: np.ndarray) -> dict[str, Any]:
    """Return what COCO says of the pixels (H, W) of an object, nothing where there are none."""
    mask = run_lengths.encode(np.asfortranarray(pixels, dtype=np.uint8))
    text = mask["counts"].decode("ascii")
    return {"segmentation": mask | {"counts": text}, "area": int(pixels.sum())} if pixels.any() else {}


def _objects(path: Path) -> list[dict[str, Any]]:
    """Return what a list of objects says of each: class, box in COCO's form where it has one, and whether it is difficult."""
    objects = []
    for entry in _parsed(path).findall("object"):
        name = (entry.findtext("name") or "").strip()
        if not name:
            raise ArgumentError(f"The list {path} has an object without a name.", hint="Name the class of each.")
        try:
            left, top, right, bottom = (float(entry.findtext(f"bndbox/{side}") or "nan") for side in _BOX)
        except ValueError:
            left = top = right = bottom = float("nan")
        # The first pixel of a row is number 1, and the last one is part of the box.
        box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
        difficult = (entry.findtext("difficult") or "").strip() == "1"
        objects.append({"category_id": name, "bbox": box, "iscrowd": int(difficult)})
    if len(objects) >= _VOID:
        raise ArgumentError(f"The list {path} has {len(objects)} objects.", hint=f"A picture can show {_VOID - 1}.")
    return objects


def _parsed(path: Path) -> Any:
    from defusedxml import DefusedXmlException, ElementTree  # a machine made for training may lack it

    refuse_special(path, what="The list of objects", error=ArgumentError)
    try:
        if path.stat().st_size > _LARGEST_LIST:
            raise ValueError("it is too large")
        return ElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except DefusedXmlException as error:  # what it defines can grow without end
        raise ArgumentError(
            f"The list of objects {path} cannot be read: it defines entities.", hint="Give Pascal VOC's XML."
        ) from error
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:  # LookupError: an encoding that nobody knows
        raise ArgumentError(f"The list of objects {path} cannot be read: {error}.", hint="Give Pascal VOC's XML.") from error


def _split_file(folder: Path, split: str) -> Path:
    lists = folder / "ImageSets" / "Segmentation"
    path = lists / f"{split}.txt"
    if Path(split).name != split or not path.is_file():
        known = ", ".join(sorted(each.stem for each in lists.glob("*.txt"))) or "none"
        raise ArgumentError(f"There is no split {split!r} of {folder}.", hint=f"In ImageSets/Segmentation there are: {known}.")
    return path


def _named_pictures(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ArgumentError(f"The split {path} cannot be read: {error}.", hint="Give a name a line.") from error
    names = [line.split()[0] for line in lines if line.strip()]
    wrong = next((name for name in names if Path(name).name != name), None)
    if wrong is not None:
        raise ArgumentError(f"The split {path} names {wrong!r}.", hint="Give names of pictures, without folders.")
    return names


def _drawn_pictures(folder: Path) -> list[str]:
    drawn = {path.stem for path in (folder / "SegmentationObject").glob("*.png")}
    return sorted(path.stem for path in (folder / "Annotations").glob("*.xml") if path.stem in drawn)


def _picture(folder: Path, name: str) -> str:
    """Return the file name of a picture; where there is none, the one that VOC would have."""
    names = [f"{name}{suffix}" for suffix in _PICTURES]
    return next((each for each in names if (folder / each).is_file()), names[0])
