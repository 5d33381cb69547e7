"""A stretch of imagery in memory with its footprints, from which crops of any size, resolution and turn are cut."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import shapely

from training.data.crop import IGNORED, MERGED, Crop
from training.data.sample import Sample
from training.data.shared_array import SharedArray
from training.data.view import View, burn_labels, cut_pixels

_SEEN = 0.25  # share of a window that has to be annotated ground


@dataclass(eq=False)
class Scene:
    """Imagery, footprints, and the area in which the footprints are complete.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        footprints: (N,) polygons in pixels, column and row. Where two overlap, the later one wins in crops.
        gsd: metres per pixel.
        area: polygon in pixels within which crops may lie; None takes the whole image.
        name: for messages and reports.
        merged: (N,) bool, footprints that are several buildings drawn as one; none by default.
        ignored: polygons around ground within the area that is not labelled.
    """

    image: np.ndarray
    footprints: np.ndarray
    gsd: float
    area: shapely.Geometry | None = None
    name: str = ""
    merged: np.ndarray | None = None
    ignored: np.ndarray | None = None
    _tree: shapely.STRtree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        self.footprints = np.asarray(self.footprints, dtype=object)
        self.merged = np.zeros(len(self.footprints), dtype=bool) if self.merged is None else self.merged
        self.ignored = np.zeros(0, dtype=object) if self.ignored is None else self.ignored
        self.area = shapely.box(0, 0, width, height) if self.area is None else self.area
        shapely.prepare(self.area)
        self._tree = shapely.STRtree(self.footprints)

    def draw_view(self, rng: np.random.Generator, *, size: int, gsd: float, turned: bool = True, attempts: int = 12) -> View:
        """Draw a view within the area.

        Where no drawn view fits, the last one is taken upright and, if it must be, finer until it does; an area too small
        for that is looked at whole.
        """
        zoom = gsd / self.gsd
        low_x, low_y, high_x, high_y = self.area.bounds
        for attempt in range(attempts):
            angle = rng.uniform(0, 2 * np.pi) if turned and attempt < attempts // 2 else 0.0
            half = 0.5 * size * zoom * (abs(np.cos(angle)) + abs(np.sin(angle)))
            if 2 * half > min(high_x - low_x, high_y - low_y) + 1e-6:
                continue
            x, y = _between(rng, low_x + half, high_x - half), _between(rng, low_y + half, high_y - half)
            view = View(x, y, size, zoom, angle)
            inner = replace(view, zoom=zoom * (1 - 0.02 / size))  # a hundredth of a pixel at the border does not count
            if self.area.contains(inner.outline()):
                return view
        span = min(high_x - low_x, high_y - low_y)
        zoom = min(zoom, span / size)
        half = 0.5 * size * zoom
        return View(_between(rng, low_x + half, high_x - half), _between(rng, low_y + half, high_y - half), size, zoom)

    def crop(self, view: View, *, fill: int = 0, bounded: bool = False) -> Crop:
        """Cut a view out.

        Args:
            view: what of the scene.
            fill: value of pixels outside the image.
            bounded: outside the area, leave the crop black and without instances.
        """
        pixels, (labels, found) = cut_pixels(self.image, view, fill=fill), self._burn(view)
        if bounded:
            inside = burn_labels([self.area], view) > 0
            pixels, labels = pixels * inside[..., None], np.where(inside, labels, 0)
        classes = np.where(self.merged[found], MERGED, 0)
        if len(self.ignored):
            classes = np.append(classes, IGNORED)
            labels[(burn_labels(self.ignored, view) > 0) & (labels == 0)] = len(classes)
        return Crop(pixels, labels[None], classes)

    def labels(self, view: View) -> np.ndarray:
        """Return the footprints in a view as (size, size) int32, numbered from one, by the pixel centre rule."""
        return self._burn(view)[0]

    def footprints_in(self, view: View) -> int:
        """Count the footprints that reach into a view."""
        return len(self._tree.query(view.outline(), predicate="intersects"))

    def _burn(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Burn the footprints in a view; return the labels and the footprint that each label from one on stands for."""
        found = np.sort(self._tree.query(view.outline(), predicate="intersects"))
        return burn_labels(self.footprints[found], view), found

    def windows(self, *, size: int, gsd: float) -> list[View]:
        """Lay upright views without overlap over the area; those that see little of it are left out.

        As many as nearly fit are laid over the middle of the area, so what is cut off at its border is less than half a crop,
        and an area smaller than a crop still gives one.
        """
        zoom = gsd / self.gsd
        low, high = np.reshape(self.area.bounds, (2, 2))
        side = size * zoom
        counts = np.maximum(1, np.round((high - low) / side)).astype(int)
        start = (low + high - counts * side) / 2
        centres = [start + (np.array([column, row]) + 0.5) * side for row, column in np.ndindex(counts[1], counts[0])]
        views = [View(float(x), float(y), size, zoom) for x, y in centres]
        return [view for view in views if burn_labels([self.area], view).mean() > _SEEN]


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw evenly; of a view that just fits, ``low`` may come out a little above ``high``."""
    return float(rng.uniform(low, max(low, high)))


class Scenes(Sequence[Scene]):
    """Scenes that all the processes of a data loader look at together.

    What is sent to a process is a few handles of shared memory, however many scenes and outlines there are: the next process is
    not started before this one has read what it was sent, and that is after it has imported torch.
    """

    def __init__(self, scenes: Iterable[Scene]) -> None:
        self._scenes = list(scenes)
        self._shared: dict[str, SharedArray] | None = None

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, number: int) -> Scene:
        return self._scenes[number]

    def __getstate__(self) -> dict[str, SharedArray]:
        if self._shared is None:
            shapes = [(*scene.footprints, *scene.ignored, scene.area) for scene in self._scenes]
            outlines = [shapely.to_wkb(shape) for of_scene in shapes for shape in of_scene]
            about = [
                {"name": s.name, "gsd": s.gsd, "image": s.image.shape, "outlines": [len(s.footprints), len(s.ignored)]}
                for s in self._scenes
            ]
            self._shared = {
                "about": _shared_bytes(json.dumps(about).encode()),
                "outlines": _shared_bytes(b"".join(outlines)),
                "lengths": SharedArray(np.array([len(outline) for outline in outlines], dtype=np.int64)),
                "merged": SharedArray(np.concatenate([np.zeros(0, dtype=bool), *(s.merged for s in self._scenes)])),
                "pixels": SharedArray(
                    np.concatenate([np.zeros(0, dtype=np.uint8), *(s.image.reshape(-1) for s in self._scenes)])
                ),
            }
        return self._shared

    def __setstate__(self, shared: dict[str, SharedArray]) -> None:
        content = shared["outlines"].values.tobytes()
        lengths = shared["lengths"].values
        ends = np.cumsum(lengths)
        wkb = [content[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        outlines = iter(shapely.from_wkb(np.array(wkb, dtype=object)))
        pixels, merged, scenes = shared["pixels"].values, shared["merged"].values, []
        for about in json.loads(shared["about"].values.tobytes()):
            footprints, ignored = (np.array(list(islice(outlines, n)), dtype=object) for n in about["outlines"])
            count, size = len(footprints), math.prod(about["image"])
            image = pixels[:size].reshape(about["image"])
            scenes.append(Scene(image, footprints, about["gsd"], next(outlines), about["name"], merged[:count], ignored))
            pixels, merged = pixels[size:], merged[count:]
        self._scenes, self._shared = scenes, shared


def _shared_bytes(content: bytes) -> SharedArray:
    return SharedArray(np.frombuffer(bytearray(content), dtype=np.uint8))


class SceneWindows(Sequence[Sample]):
    """The scenes' windows as samples, cut when they are asked for: what a model is validated on.

    Args:
        scenes: in this order.
        size: side of a window in pixels.
        gsd: metres per pixel.
        smallest: instances of fewer pixels are dropped.
    """

    def __init__(self, scenes: Sequence[Scene], *, size: int, gsd: float, smallest: int) -> None:
        self._scenes = Scenes(scenes)
        self._windows = [(n, view) for n, scene in enumerate(scenes) for view in scene.windows(size=size, gsd=gsd)]
        self._smallest = smallest

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Sample:
        number, view = self._windows[index]
        scene = self._scenes[number]
        return scene.crop(view, bounded=True).sample(f"{scene.name} {view.x:.0f},{view.y:.0f}", smallest=self._smallest)
