"""The annotated objects of a COCO file, made fit to be measured by: nothing is left out without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from training.data.coco.layout import CocoImage, image_entry, read_coco
from training.data.coco.run_counts import runs_fill

CROWD, MERGED, IGNORED = "crowd", "merged", "ignored"
"""Regions, in which detections are neither right nor wrong: COCO's crowds, several objects drawn as one, unlabelled ground."""
_BOX_SLACK = 1.5  # pixels: boxes of outlines and boxes of pixels differ by up to one
_AREA_SLACK = 0.1  # of the area, for the same reason, and some pixels for small objects


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """Images and objects of one class or several.

    Attributes:
        file: the annotation file.
        images: where each lies, how large it is.
        dataset: as pycocotools wants it: ``images``, ``annotations`` with run-length masks, ``categories``. Regions have
            ``iscrowd`` 1, and in ``region`` which kind they are.
        repairs: what was wrong with the file, and how often.
    """

    file: Path
    images: list[CocoImage]
    dataset: dict[str, list[dict[str, Any]]]
    repairs: dict[str, int] = field(default_factory=dict)

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
    """Read a COCO file.

    Masks are drawn by pycocotools, as for published figures. Boxes and areas that do not fit the outline are made anew from
    it, for MapChallenge carries wrong ones. Objects that cover no pixel stay, as misses: so they do in published figures.
    ``"merged": 1`` annotations, and each image's ``"ignore"`` rings together for every category, are regions like crowds.

    Args:
        annotations: the file.
        images: the folder that its ``file_name`` entries are in.

    Raises:
        ArgumentError: it is no COCO file, or names images that are not there.
    """
    file, folder = Path(annotations), Path(images)
    content = read_coco(file)
    entries: dict[Any, CocoImage] = {}
    repairs: Counter[str] = Counter()
    for entry in content["images"]:
        image = image_entry(entry, folder, file)
        if image.id in entries:
            repairs["images listed twice"] += 1
        entries[image.id] = image
    _check_files(list(entries.values()), folder)
    used = {annotation.get("category_id") for annotation in content["annotations"]}
    categories = content.get("categories") or [{"id": number, "name": str(number)} for number in sorted(used - {None})]
    known = {category["id"] for category in categories}

    objects: list[dict[str, Any]] = []
    seen: set[Any] = set()
    for annotation in content["annotations"]:
        image = entries.get(annotation.get("image_id"))
        if image is None or annotation.get("category_id") not in known:
            repairs["objects left out, of an image or category that is not listed"] += 1
            continue
        repairs["ids that occur again"] += annotation.get("id") in seen
        seen.add(annotation.get("id"))
        # Numbered from 1: pycocotools takes a match with number 0 for none.
        objects.append({**_object(annotation, image, repairs), "id": len(objects) + 1})
    for region in _ignored_ground(entries.values(), categories):
        objects.append({**region, "id": len(objects) + 1})
    pictures = [{"id": image.id, "height": image.height, "width": image.width} for image in entries.values()]
    dataset = {"images": pictures, "annotations": objects, "categories": list(categories)}
    return CocoTruth(file, list(entries.values()), dataset, {what: count for what, count in repairs.items() if count})


def encoded_mask(segmentation: Any, *, height: int, width: int) -> dict[str, Any]:
    """Return the run-length mask of a COCO segmentation, empty where it holds nothing that can be drawn."""
    if isinstance(segmentation, dict) and "counts" in segmentation:
        counts = segmentation["counts"]
        if not isinstance(counts, (str, bytes, list)) or not runs_fill(counts, height * width):
            return run_lengths.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
        if isinstance(counts, list):
            return run_lengths.frPyObjects(segmentation, height, width)
        return {"size": [height, width], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
    rings = [np.asarray(ring, dtype=float).ravel() for ring in segmentation or []]
    rings = [ring for ring in rings if len(ring) >= 6 and len(ring) % 2 == 0 and np.isfinite(ring).all()]
    if not rings:
        return run_lengths.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
    return run_lengths.merge(run_lengths.frPyObjects([ring.tolist() for ring in rings], height, width))


def _object(annotation: dict[str, Any], image: CocoImage, repairs: Counter[str]) -> dict[str, Any]:
    mask = encoded_mask(annotation.get("segmentation"), height=image.height, width=image.width)
    area, box = float(run_lengths.area(mask)), run_lengths.toBbox(mask).tolist()
    crowd, merged = bool(annotation.get("iscrowd")), bool(annotation.get("merged"))
    if area == 0 and not (crowd or merged):
        repairs["objects that cover no pixel, which count as misses"] += 1
    told_area, told_box = annotation.get("area"), annotation.get("bbox")
    if not _is_box(told_box) or (area and not np.allclose(_corners(told_box), _corners(box), rtol=0, atol=_BOX_SLACK)):
        repairs["boxes made anew"] += 1
        told_box = box
    if not isinstance(told_area, (int, float)) or abs(told_area - area) > _AREA_SLACK * area + 8:
        repairs["areas made anew"] += 1
        told_area = area
    return {
        "image_id": image.id,
        "category_id": annotation["category_id"],
        "segmentation": mask,
        "iscrowd": int(crowd or merged),
        "area": float(told_area),
        "bbox": [float(value) for value in told_box],
        **({"region": MERGED if merged else CROWD} if crowd or merged else {}),
    }


def _ignored_ground(images: Iterable[CocoImage], categories: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is not labelled of each image as one region: a detection across two adjacent rings lies on both together."""
    for image in images:
        mask = encoded_mask(image.ignore, height=image.height, width=image.width)
        area = float(run_lengths.area(mask))
        about = {"iscrowd": 1, "region": IGNORED, "area": area, "bbox": run_lengths.toBbox(mask).tolist()}
        for category in categories if area else ():
            yield {"image_id": image.id, "category_id": category["id"], "segmentation": mask, **about}


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, (list, tuple))
        and len(box) == 4
        and all(isinstance(value, (int, float)) and np.isfinite(value) for value in box)
    )


def _corners(box: list[float]) -> np.ndarray:
    left, top, width, height = box
    return np.array([left, top, left + width, top + height])


def _check_files(images: list[CocoImage], folder: Path) -> None:
    if not folder.is_dir():
        raise ArgumentError(f"The folder of images {folder} does not exist.", hint="Check --images.")
    missing = [image for image in images if not image.path.is_file()]
    if missing:
        raise ArgumentError(
            f"{len(missing)} of {len(images)} images are not in {folder}, first {missing[0].path.name} (id {missing[0].id}).",
            hint="Figures without them would be those of another data set; take them out of the annotation file to mean that.",
        )
