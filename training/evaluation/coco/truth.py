"""The annotated objects of a COCO file, made fit to be measured by: nothing is left out without a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from training.data.coco.checks import Checked, read_checked
from training.data.coco.layout import CocoImage
from training.data.coco.outlines import encoded_runs, mended_rings, sound_rings
from training.data.coco.reader import CocoReader

CROWD, MERGED, IGNORED = "crowd", "merged", "ignored"
"""Regions, in which detections are neither right nor wrong: COCO's crowds, several objects drawn as one, unlabelled ground."""
NO_PIXEL = "an object covers no pixel, though its outline encloses something; a miss, as in published figures"


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """Images and objects of one class or several.

    Attributes:
        file: the annotation file.
        images: where each lies, how large it is.
        dataset: as pycocotools wants it: ``images``, ``annotations`` with run-length masks, ``categories``. Regions have
            ``iscrowd`` 1, and in ``region`` which kind they are.
        image_ids: of each id in the file, that of its image in ``images``; a file may be listed under two.
        repairs: what was wrong with the file and what is done about it, in words, and how often.
    """

    file: Path
    images: list[CocoImage]
    dataset: dict[str, list[dict[str, Any]]]
    image_ids: dict[Any, Any]
    repairs: dict[str, int]

    @property
    def objects(self) -> int:
        """Objects that count, which regions do not."""
        return sum(not annotation["iscrowd"] for annotation in self.dataset["annotations"])

    @property
    def crowds(self) -> int:
        """Annotations that are COCO's crowds."""
        return self._regions(CROWD)

    @property
    def merged(self) -> int:
        """Annotations that are several objects drawn as one."""
        return self._regions(MERGED)

    @property
    def ignored_images(self) -> int:
        """Images with ground that is not labelled."""
        return len({entry["image_id"] for entry in self.dataset["annotations"] if entry.get("region") == IGNORED})

    @property
    def empty_images(self) -> int:
        """Images without any object that counts; whatever is detected there, but on regions, is wrong."""
        with_objects = {entry["image_id"] for entry in self.dataset["annotations"] if not entry["iscrowd"]}
        return len(self.images) - len(with_objects)

    def _regions(self, kind: str) -> int:
        return sum(annotation.get("region") == kind for annotation in self.dataset["annotations"])


def read_truth(annotations: str | Path, images: str | Path) -> CocoTruth:
    """Read a COCO file as a training does: what that would not learn from is not measured by either.

    Masks are drawn by pycocotools, as for published figures. Objects that it gives no pixel stay, as misses: so they do in
    published figures. ``"merged": 1`` annotations, and each image's ``"ignore"`` rings together for every category, are
    regions like crowds.

    Args:
        annotations: the file.
        images: the folder that its ``file_name`` entries are in.

    Raises:
        ArgumentError: it is no COCO file, or has a fault that is refused; an image cannot be used.
    """
    file, folder = Path(annotations), Path(images)
    if not folder.is_dir():
        raise ArgumentError(f"The folder of images {folder} does not exist.", hint="Check --images.")
    reader, checked = read_checked(file, folder, "evaluation")
    named = zip(reader.categories.items(), reader.classes, strict=True)
    categories = [{**entry, "id": identity, "name": name} for (identity, entry), name in named]
    objects = [*_objects(reader, checked, [category["id"] for category in categories])]
    repairs = reader.faults.done("evaluation")
    unseen = sum(not annotation["area"] and not annotation["iscrowd"] for annotation in objects)
    objects += _ignored_ground(reader.images, categories)
    for number, annotation in enumerate(objects, start=1):  # pycocotools takes a match with number 0 for none
        annotation["id"] = number
    return CocoTruth(
        file,
        reader.images,
        {
            "images": [{"id": image.id, "height": image.height, "width": image.width} for image in reader.images],
            "annotations": objects,
            "categories": categories,
        },
        {identity: reader.images[number].id for identity, number in reader.image_of.items()},
        repairs | ({NO_PIXEL: unseen} if unseen else {}),
    )


def encoded_mask(segmentation: Any, *, height: int, width: int) -> dict[str, Any]:
    """Return the run-length mask of a COCO segmentation, empty where it holds nothing that can be drawn."""
    if isinstance(segmentation, dict):
        encoded = encoded_runs(segmentation)
        return encoded if encoded is not None and encoded["size"] == [height, width] else _drawn([], height, width)
    return _drawn(sound_rings(segmentation)[0] if isinstance(segmentation, list) else [], height, width)


def _drawn(rings: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    if not rings:
        return run_lengths.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
    return run_lengths.merge(run_lengths.frPyObjects([list(ring) for ring in rings], height, width))


def _objects(reader: CocoReader, checked: Checked, category_ids: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield the annotations that a training takes, with their masks."""
    annotations = reader.annotations
    beyond, wrong_box, wrong_area = (checked.has(fault) for fault in ("beyond", "wrong_box", "wrong_area"))
    for row in np.flatnonzero(checked.kept).tolist():
        image = reader.images[annotations.owners[row]]
        runs = annotations.outlines.run_lengths(row)
        if runs:
            mask = {"size": [image.height, image.width], "counts": runs}
        else:
            rings = [ring.ravel().tolist() for ring in annotations.outlines.rings(row)]
            rings = mended_rings(rings, image.width, image.height) if beyond[row] else rings
            mask = _drawn(rings, image.height, image.width)
        area, box = float(run_lengths.area(mask)), run_lengths.toBbox(mask).tolist()
        crowd, merged = annotations.crowds[row], annotations.merged[row]
        yield {
            "image_id": image.id,
            "category_id": category_ids[annotations.categories[row]],
            "segmentation": mask,
            "iscrowd": int(crowd or merged),
            "area": area if not area or wrong_area[row] or beyond[row] else float(annotations.areas[row]),
            "bbox": box if wrong_box[row] or beyond[row] else annotations.boxes[row].tolist(),
            **({"region": MERGED if merged else CROWD} if crowd or merged else {}),
        }


def _ignored_ground(images: Iterable[CocoImage], categories: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is not labelled of each image as one region: a detection across two adjacent rings lies on both together."""
    for image in images:
        mask = _drawn(image.ignore, image.height, image.width)
        area = float(run_lengths.area(mask))
        about = {"iscrowd": 1, "region": IGNORED, "area": area, "bbox": run_lengths.toBbox(mask).tolist()}
        for category in categories if area else ():
            yield {"image_id": image.id, "category_id": category["id"], "segmentation": mask, **about}
