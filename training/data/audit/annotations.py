"""Check one COCO annotation after another: what is wrong with it, and what it should be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from engine.vector.valid_polygons import polygons_in
from training.data.coco.rings import polygon_of_rings, rings_of
from training.data.coco.run_counts import runs_fill

TINY = 12.0  # square pixels; a building of that cannot be told from clutter
BOX_TOLERANCE = 1.0  # pixels; many programs round boxes
BORDER_TOLERANCE = 0.5  # pixels; many programs count the last pixel's far side

FAULTS = {
    "no_image": "belongs to no image of the file; left out",
    "no_outline": "has no segmentation, or an empty one; left out",
    "malformed": "has a segmentation that is neither rings of numbers nor a run-length mask of the image's size, or a category"
    " that is neither number nor name; left out",
    "no_area": "has an outline that encloses nothing; left out",
    "outside": "lies outside its image; left out",
    "repeated": "is on its image a second time; left out",
    "crossing": "has an outline that crosses itself; mended",
    "beyond": "reaches beyond its image; cut at the border",
    "wrong_box": "has a bbox that is not its outline's; measured again",
    "wrong_area": "has an area that is not its outline's; measured again",
    "duplicate_id": "has an id that another annotation has; numbered again",
    "unknown_category": "has a category that the file does not list; kept",
    "tiny": f"is smaller than {TINY:g} square pixels; kept",
}


@dataclass
class Checked:
    """An annotation after the check: what is wrong, and how it reads when that is mended; None where it has to go."""

    faults: list[str]
    mended: dict[str, Any] | None


@dataclass
class AnnotationChecker:
    """Checks the annotations of one file, in their order.

    Attributes:
        sizes: width and height by image id.
        categories: ids.
    """

    sizes: dict[Any, tuple[int, int]]
    categories: set[Any]
    _ids: set[int] = field(default_factory=set)
    _outlines: set[int] = field(default_factory=set)

    def check(self, annotation: Any) -> Checked:
        """Check one annotation."""
        if not isinstance(annotation, dict):
            return Checked(["malformed"], None)
        faults = []
        identity = hash(str(annotation.get("id")))
        if identity in self._ids:
            faults.append("duplicate_id")
        self._ids.add(identity)
        category = annotation.get("category_id")
        if isinstance(category, (list, dict)):
            return Checked([*faults, "malformed"], None)
        if category not in self.categories:
            faults.append("unknown_category")
        image = annotation.get("image_id")
        size = self.sizes.get(image) if isinstance(image, (int, str)) else None
        if size is None:
            return Checked([*faults, "no_image"], None)
        segmentation = annotation.get("segmentation")
        if not segmentation or (isinstance(segmentation, list) and not any(segmentation)):
            return Checked([*faults, "no_outline"], None)
        outline = _Mask.read(segmentation, size) if isinstance(segmentation, dict) else _Rings.read(segmentation)
        if outline is None:
            return Checked([*faults, "malformed"], None)
        key = hash((image, category, outline.key))
        if key in self._outlines:
            return Checked([*faults, "repeated"], None)
        self._outlines.add(key)
        mended = dict(annotation)
        found, mended["segmentation"] = outline.check(size)
        faults += found
        if mended["segmentation"] is None:
            return Checked(faults, None)
        self._check_numbers(annotation, mended, outline, faults)
        return Checked(faults, mended)

    def _check_numbers(self, annotation: dict, mended: dict, outline: _Rings | _Mask, faults: list[str]) -> None:
        if outline.area < TINY:
            faults.append("tiny")
        box = annotation.get("bbox")
        if not are_numbers(box, 4) or np.abs(np.subtract(box, outline.stated_box)).max() > BOX_TOLERANCE:
            faults.append("wrong_box")
            mended["bbox"] = [round(value, 2) for value in outline.box]
        elif "beyond" in faults or "crossing" in faults:
            mended["bbox"] = [round(value, 2) for value in outline.box]
        area = annotation.get("area")
        # Areas are counted in pixels by many programs, which is off by up to half the perimeter.
        if not are_numbers([area], 1) or abs(area - outline.stated_area) > 2 + outline.perimeter / 2:
            faults.append("wrong_area")
            mended["area"] = round(outline.area, 2)
        elif "beyond" in faults or "crossing" in faults:
            mended["area"] = round(outline.area, 2)


class _Rings:
    """An outline of rings; ``box`` and ``area`` are those of what ``check`` leaves, ``stated_`` those of the file's rings."""

    def __init__(self, rings: list[np.ndarray], malformed: bool) -> None:
        self._rings, self._malformed = rings, malformed
        self.key = b"|".join(np.round(ring, 1).tobytes() for ring in rings)
        self.area = self.stated_area = self.perimeter = 0.0
        self.box = self.stated_box = (0.0, 0.0, 0.0, 0.0)

    @classmethod
    def read(cls, segmentation: Any) -> _Rings | None:
        """Read rings; those that are none are left out, None where none is left."""
        if not isinstance(segmentation, list):
            return None
        if segmentation and not isinstance(segmentation[0], list):
            return None
        rings = []
        for ring in segmentation:
            if isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0 and are_numbers(ring, len(ring)):
                rings.append(np.array(ring, dtype=float).reshape(-1, 2))
        return cls(rings, len(rings) < len(segmentation)) if rings else None

    def check(self, size: tuple[int, int]) -> tuple[list[str], list | None]:
        """Return faults, and the rings that it should have; None where nothing is left of it."""
        faults = ["malformed"] if self._malformed else []
        polygons = [shapely.Polygon(ring) for ring in self._rings]
        points = np.concatenate(self._rings)
        bounds = np.concatenate([points.min(axis=0), points.max(axis=0)])
        self.stated_box = _box(bounds)
        whole: shapely.Geometry = polygons[0]
        if not shapely.is_valid(polygons).all():
            if max(shapely.area(polygons)) > 0 or max(shapely.area(shapely.convex_hull(polygons))) > 0:
                faults.append("crossing")
            whole = polygon_of_rings([ring.ravel().tolist() for ring in self._rings])
        elif len(polygons) > 1:
            whole = shapely.union_all(polygons)
        self.stated_area = self.area = float(whole.area)
        self.perimeter = float(whole.length)
        if self.area <= 0:
            return [*(f for f in faults if f != "crossing"), "no_area"], None
        width, height = size
        over = max(-bounds[0], -bounds[1], bounds[2] - width, bounds[3] - height)
        if over > BORDER_TOLERANCE:
            parts = polygons_in(shapely.intersection(whole, shapely.box(0, 0, width, height)))
            if not len(parts):
                return [*faults, "outside"], None
            faults.append("beyond")
            whole = parts[0] if len(parts) == 1 else shapely.multipolygons(parts)
        self.box = _box(shapely.bounds(whole))
        self.area = float(whole.area)
        if not faults:
            return [], [ring.ravel().tolist() for ring in self._rings]
        return faults, rings_of(whole) or None


class _Mask:
    """An outline as a run-length mask; the attributes are those of ``_Rings``."""

    def __init__(self, segmentation: dict, encoded: dict) -> None:
        from pycocotools import mask as run_lengths

        self._segmentation = segmentation
        self.key = bytes(encoded["counts"])
        self.area = self.stated_area = float(run_lengths.area(encoded))
        self.box = self.stated_box = tuple(run_lengths.toBbox(encoded).tolist())
        self.perimeter = 0.0

    @classmethod
    def read(cls, segmentation: dict, size: tuple[int, int]) -> _Mask | None:
        """Read a mask of the size of its image, None where it is not one."""
        from pycocotools import mask as run_lengths

        counts, shape = segmentation.get("counts"), segmentation.get("size")
        width, height = size
        if shape != [height, width]:
            return None
        if not (isinstance(counts, str) or are_numbers(counts, -1)) or not runs_fill(counts, width * height):
            return None
        if isinstance(counts, str):
            return cls(segmentation, {"size": shape, "counts": counts.encode("ascii")})
        return cls(segmentation, run_lengths.frPyObjects({"size": shape, "counts": counts}, height, width))

    def check(self, size: tuple[int, int]) -> tuple[list[str], dict | None]:
        """Return faults, and the mask; None where it is empty."""
        return ([], self._segmentation) if self.area > 0 else (["no_area"], None)


def _box(bounds: np.ndarray) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in bounds)
    return left, top, right - left, bottom - top


def are_numbers(values: Any, count: int) -> bool:
    """Say whether these are finite numbers, so many of them; -1 is any number but none."""
    if not isinstance(values, list) or (len(values) != count if count >= 0 else not values):
        return False
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values)
