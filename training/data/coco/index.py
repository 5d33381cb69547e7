"""What a COCO file says, in a few arrays: the whole of MapChallenge has 280,000 images and 2.4 million outlines.

Python objects for them would take gigabytes, in each process that prepares images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from training.data.coco.layout import CocoImage
from training.data.coco.outlines import polygon_of_rings
from training.data.shared_array import SharedArray


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Images, I of them.

    Attributes:
        ids: (I,) int64, or bytes where some are no numbers.
        names: (I,) bytes, ``file_name`` in UTF-8.
        sizes: (I, 2) int32, width and height.
        zooms: (I,) int16, -1 where the file says none.
        bounds: (I, 4) float64, NaN where the file says none.
        gsds: (I,) float64, NaN where the file says none.
        places: (I,) bytes in UTF-8, empty where the file says none.
        ignored: outlines of the ground that is not labelled, an object per image.
    """

    ids: SharedArray
    names: SharedArray
    sizes: SharedArray
    zooms: SharedArray
    bounds: SharedArray
    gsds: SharedArray
    places: SharedArray
    ignored: OutlineTable

    @classmethod
    def of(cls, images: list[CocoImage], names: list[str]) -> ImageTable:
        """Put images into arrays; ``names`` are their ``file_name`` entries."""
        numbered = all(isinstance(image.id, int) and abs(image.id) < 2**63 for image in images)
        ids = np.array([image.id if numbered else str(image.id).encode() for image in images])
        unknown = (np.nan,) * 4
        return cls(
            ids=SharedArray(ids.astype(np.int64) if numbered else ids),
            names=SharedArray(np.array([name.encode() for name in names], dtype="S")),
            sizes=SharedArray(np.array([(image.width, image.height) for image in images], dtype=np.int32).reshape(-1, 2)),
            zooms=SharedArray(np.array([-1 if image.zoom is None else image.zoom for image in images], dtype=np.int16)),
            bounds=SharedArray(np.array([image.bounds or unknown for image in images], dtype=float).reshape(-1, 4)),
            gsds=SharedArray(np.array([image.gsd or np.nan for image in images], dtype=float)),
            places=SharedArray(np.array([(image.place or "").encode() for image in images], dtype="S")),
            ignored=OutlineTable.of_rings([image.ignore for image in images]),
        )

    def __len__(self) -> int:
        return len(self.sizes.values)

    def image(self, index: int, folder: Path) -> CocoImage:
        """Return one; its file lies below ``folder``."""
        identity, (width, height) = self.ids.values[index], self.sizes.values[index].tolist()
        zoom, bounds, gsd = int(self.zooms.values[index]), self.bounds.values[index], float(self.gsds.values[index])
        place = self.places.values[index].decode()
        return CocoImage(
            id=identity.decode() if isinstance(identity, bytes) else int(identity),
            path=folder / self.names.values[index].decode(),
            width=width,
            height=height,
            zoom=None if zoom < 0 else zoom,
            bounds=None if np.isnan(bounds[0]) else tuple(bounds.tolist()),
            gsd=None if np.isnan(gsd) else gsd,
            place=place or None,
            ignore=tuple(tuple(ring.ravel().tolist()) for ring in self.ignored.rings(index)),
        )


@dataclass(frozen=True, eq=False)
class OutlineTable:
    """Outlines of objects, N of them: rings of points, or run lengths.

    Attributes:
        points: (P, 2) float32 or float64, x and y in pixels.
        point_ends: (R,) int64, where each ring's points end.
        ring_ends: (N,) int64, where each object's rings end.
        runs: (K,) uint8, compressed run lengths as COCO writes them.
        run_ends: (N,) int64, where each object's run lengths end; objects with rings have none.
    """

    points: SharedArray
    point_ends: SharedArray
    ring_ends: SharedArray
    runs: SharedArray
    run_ends: SharedArray

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> OutlineTable:
        """Share arrays by name."""
        return cls(**{field.name: SharedArray(arrays[field.name]) for field in fields(cls)})

    @classmethod
    def of_rings(cls, objects: Sequence[Sequence[Sequence[float]]]) -> OutlineTable:
        """Put objects that are rings alone, x and y by turns, into arrays."""
        rings = [ring for each in objects for ring in each]
        return cls.of(
            {
                "points": np.array([number for ring in rings for number in ring], dtype=np.float32).reshape(-1, 2),
                "point_ends": np.cumsum([len(ring) // 2 for ring in rings], dtype=np.int64),
                "ring_ends": np.cumsum([len(each) for each in objects], dtype=np.int64),
                "runs": np.zeros(0, dtype=np.uint8),
                "run_ends": np.zeros(len(objects), dtype=np.int64),
            }
        )

    def narrow(self) -> OutlineTable:
        """Return the same outlines in half the memory."""
        return replace(self, points=SharedArray(self.points.values.astype(np.float32)))

    def rings(self, number: int) -> list[np.ndarray]:
        """Return the rings of an object, (K, 2) each."""
        ends, points = self.point_ends.values, self.points.values
        return [points[slice(*stretch(ends, ring))] for ring in range(*stretch(self.ring_ends.values, number))]

    def run_lengths(self, number: int) -> bytes:
        """Return the run lengths of an object, empty where it has rings."""
        return self.runs.values[slice(*stretch(self.run_ends.values, number))].tobytes()

    def polygons(self, numbers: np.ndarray) -> np.ndarray:
        """Return objects with rings as valid geometries: (K,)."""
        return np.array([polygon_of_rings(self.rings(number)) for number in numbers.tolist()], dtype=object)


def stretch(ends: np.ndarray, number: int) -> tuple[int, int]:
    """Return where an entry of a table begins and ends, by the ends of all."""
    return int(ends[number - 1]) if number else 0, int(ends[number])
