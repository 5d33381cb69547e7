"""Panoptic segmentations as COCO writes them: a JSON file of segments, and a PNG a picture whose colours are their ids.

cocodataset.org, "Data format", 4. Panoptic Segmentation: the id of a pixel is red + 256 green + 65536 blue, 0 is no segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.errors import ArgumentError
from training.data.coco.image_files import open_image
from training.data.coco.layout import InsideFolder
from training.data.coco.stream import BEGINNING, walk

VOID = 0
"""The id of pixels in no segment."""

_LARGEST_ID = 2**24 - 1


@dataclass(frozen=True)
class Category:
    """A class of segments; ``thing`` tells countable objects from stuff."""

    name: str
    thing: bool


@dataclass(frozen=True, eq=False)
class Segments:
    """What the file says of the S segments of one picture, in its order.

    Attributes:
        file_name: of the PNG.
        ids: (S,) int64, each once.
        categories: (S,) int32, their places in ``PanopticFile.categories``.
        crowds: (S,) bool.
    """

    file_name: str
    ids: np.ndarray
    categories: np.ndarray
    crowds: np.ndarray


class PanopticFile:
    """A JSON file of panoptic segmentations; the PNG files are read one by one.

    Attributes:
        path: of the file.
        folder: of the PNG files.
        categories: by id, in the order of the file; those of another file where they are given.
        segments: by the id of the picture, in the order of the file.
    """

    def __init__(
        self, path: str | Path, folder: str | Path | None = None, *, categories: Mapping[Any, Category] | None = None
    ) -> None:
        """Read a file.

        Args:
            path: of it.
            folder: of its PNG files; by default the one beside it with its name, as in COCO.
            categories: what ``category_id`` entries mean; by default as the file itself says.

        Raises:
            ArgumentError: it cannot be read, is no panoptic COCO, has a segment of an unknown category, or a picture twice.
        """
        self.path = Path(path)
        self.folder = self.path.with_suffix("") if folder is None else Path(folder)
        if not self.folder.is_dir():
            raise ArgumentError(
                f"The folder of segments {self.folder} of {self.path} does not exist.", hint="Name the folder of the PNG files."
            )
        self._is_inside = InsideFolder(self.folder)
        self.categories = dict(self._own_categories() if categories is None else categories)
        self._numbers = {identity: number for number, identity in enumerate(self.categories)}
        self.segments: dict[int | str, Segments] = {}
        for entry in self._entries("annotations"):
            image = self._image_id(entry)
            if image in self.segments:
                raise ArgumentError(f"{self.path} has two segmentations of the picture {image}.", hint="Take one out.")
            self.segments[image] = self._read_segments(entry, image)

    def read_ids(self, image: int | str) -> np.ndarray:
        """Read the id of each pixel of a picture: (H, W) int32.

        Raises:
            ArgumentError: its PNG is not there, cannot be read, or is no PNG of colours.
        """
        path = self.folder / self.segments[image].file_name
        try:
            if not self._is_inside(path):
                raise ValueError("its name leads out of the folder")
            with open_image(path) as picture:
                if picture.format != "PNG" or picture.mode not in ("RGB", "RGBA"):
                    raise ValueError(f"it is a {picture.format} of {picture.mode} values; ids are a PNG of RGB values")
                colours = np.asarray(picture)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            missing = isinstance(error, FileNotFoundError)
            reason = "is not there" if missing else f"cannot be read: {error}"
            raise ArgumentError(
                f"The segments {path} of the picture {image} {reason}.",
                hint="Bring it back, or name the folder of the PNG files.",
            ) from error
        red, green, blue = (colours[..., band].astype(np.int32) for band in range(3))
        return red + 256 * green + 65536 * blue

    def _own_categories(self) -> dict[Any, Category]:
        categories = {}
        for entry in self._entries("categories"):
            identity, kind = entry.get("id"), entry.get("isthing")
            if not isinstance(identity, (int, str)) or kind not in (0, 1):
                raise ArgumentError(
                    f"{self.path} has a category without an id, or that does not say whether it isthing: {str(entry)[:80]}.",
                    hint="Give a file of COCO's panoptic format.",
                )
            categories[identity] = Category(str(entry.get("name", identity)), bool(kind))
        if not categories:
            raise ArgumentError(
                f"{self.path} has no categories.", hint="The truth names them; are the two files the other way round?"
            )
        return categories

    def _entries(self, key: str) -> Iterator[dict[str, Any]]:
        found = False
        for _, entry in walk(self.path, {key}):
            found = True
            if entry is BEGINNING:
                continue
            if not isinstance(entry, dict):
                raise ArgumentError(f"{self.path} has {str(entry)[:80]} among its {key}.", hint="Each is a JSON object.")
            yield entry
        if not found and key == "annotations":
            raise ArgumentError(f"{self.path} has no annotations.", hint="Give a file of COCO's panoptic format.")

    def _image_id(self, entry: dict[str, Any]) -> int | str:
        image = entry.get("image_id")
        if not isinstance(image, (int, str)):
            raise ArgumentError(f"{self.path} has a segmentation without an image_id.", hint="Name the picture of each.")
        return image

    def _read_segments(self, entry: dict[str, Any], image: int | str) -> Segments:
        name, listed = entry.get("file_name"), entry.get("segments_info")
        if not isinstance(name, str) or not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise ArgumentError(
                f"The picture {image} in {self.path} has no file_name or no segments_info.",
                hint="Give a file of COCO's panoptic format.",
            )
        ids = [each.get("id") for each in listed]
        wrong = [each for each in ids if type(each) is not int or not VOID < each <= _LARGEST_ID]
        if wrong or len(set(ids)) < len(ids):
            which = f"the id {str(wrong[0])[:20]}" if wrong else "an id twice"
            raise ArgumentError(
                f"The picture {image} in {self.path} has a segment with {which}.",
                hint=f"Ids are whole numbers from 1 to {_LARGEST_ID}, each once.",
            )
        categories = [self._number(each.get("category_id"), image) for each in listed]
        return Segments(
            file_name=name,
            ids=np.array(ids, dtype=np.int64),
            categories=np.array(categories, dtype=np.int32),
            crowds=np.array([each.get("iscrowd") in (1, True) for each in listed], dtype=bool),
        )

    def _number(self, category: Any, image: int | str) -> int:
        number = self._numbers.get(category) if isinstance(category, (int, str)) else None
        if number is None:
            raise ArgumentError(
                f"The picture {image} in {self.path} has a segment of the category {str(category)[:40]}, which is unknown.",
                hint="The categories are those of the truth.",
            )
        return number
