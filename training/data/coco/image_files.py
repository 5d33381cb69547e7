"""Look at the files of a data set before a training begins: are they there, are they whole, how large are they."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from engine.errors import ArgumentError
from training.data.coco.layout import CocoImage

# What a data set may hold. Pillow reads some forty kinds; the rare ones are where crafted files do harm (CVE-2026-25990).
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
_AT_ONCE = 16  # files: on a network, their headers arrive one by one
_PART = 64  # files that a thread takes at once
_TAIL = 64  # bytes: some programs write a little after the end
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TRANSPARENT = {"RGBA", "LA", "PA", "La", "RGBa"}
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa"}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """What the header of a file says; ``fault`` is the name of one or empty, and ``words`` say what it is."""

    width: int = 0
    height: int = 0
    mode: str = ""
    fault: str = ""
    words: str = ""

    @property
    def usable(self) -> bool:
        """Whether training can read it."""
        return self.fault in ("", "grey", "transparent")


def open_image(source: str | Path | BinaryIO) -> Image.Image:
    """Open an image of a data set: every image that somebody else made is opened here.

    Raises:
        OSError: it cannot be opened, or is none of ``FORMATS``.
    """
    return Image.open(source, formats=FORMATS)


def look_at_files(paths: Sequence[Path]) -> list[ImageFile]:
    """Read the headers of files."""
    parts = [paths[start : start + _PART] for start in range(0, len(paths), _PART)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        looked = threads.map(lambda part: [look_at_file(path) for path in part], parts)
        seen: dict[ImageFile, ImageFile] = {}  # most are alike
        return [seen.setdefault(file, file) for part in looked for file in part]


def look_at_file(path: Path) -> ImageFile:
    """Read the header of a file, and the whole of it where its end looks cut off."""
    try:
        if path.exists() and not path.is_file():  # to open a pipe would wait for ever
            return ImageFile(fault="unreadable", words="is no file")
        with path.open("rb") as source, open_image(source) as image:
            if image.mode not in _EIGHT_BIT:
                words = f"holds {image.mode} values, which have to be made 8 bit first"
                return ImageFile(*image.size, image.mode, "unreadable", words)
            end = _ENDS.get(image.format or "")
            if end is not None:
                source.seek(max(0, source.seek(0, 2) - _TAIL))
                if end not in source.read():
                    source.seek(0)
                    with open_image(source) as whole:
                        whole.load()
            if image.mode == "RGB":
                return ImageFile(*image.size, image.mode)
            fault = "transparent" if image.mode in _TRANSPARENT else "grey"
            return ImageFile(*image.size, image.mode, fault, f"holds {image.mode} values")
    except FileNotFoundError:
        return ImageFile(fault="missing", words="is not there")
    except UnidentifiedImageError:
        return ImageFile(fault="unreadable", words=f"is no picture of a known kind ({', '.join(FORMATS)})")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return ImageFile(fault="unreadable", words=f"cannot be read: {error}")


def read_rgb(entry: CocoImage) -> np.ndarray:
    """Read a picture: (H, W, 3) uint8. Grey ones are spread over the bands, transparency is taken as if there were none.

    Raises:
        ArgumentError: it cannot be read, or is not of the size that the file says.
    """
    try:
        with open_image(entry.path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ArgumentError(
            f"The image {entry.path} (id {entry.id}) cannot be read: {error}.", hint="Bring it back, or take it out."
        ) from error
    if pixels.shape[:2] != (entry.height, entry.width):
        raise ArgumentError(
            f"The image {entry.path} (id {entry.id}) is {pixels.shape[1]}x{pixels.shape[0]} pixels, its annotation says "
            f"{entry.width}x{entry.height}.",
            hint="Bring back the images that the annotations were made for.",
        )
    return pixels
