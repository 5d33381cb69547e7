"""Where training crops come from: annotated images, scenes in memory, and a pool of synthetic towns."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely

from engine.errors import ArgumentError
from training.data.coco.folder import CocoFolder
from training.data.coco.layout import CocoImage
from training.data.crop import IGNORED, MERGED, Crop
from training.data.sample import Sample
from training.data.scenes.scene import Scene, Scenes
from training.data.synthetic.style import STYLES, draw_by_weight
from training.data.synthetic.town import GENERATION, SyntheticTown
from training.data.view import View, burn_layers, cut_pixels

logger = logging.getLogger(__name__)


_SPARSE_OF = 6  # views, of which the one with the fewest buildings is taken where little is to be seen


class CropSource(Protocol):
    """Anything that training crops can be drawn from."""

    def draw(self, rng: np.random.Generator, *, size: int, scale: float, fill: int, sparse: bool = False) -> Crop:
        """Draw a crop of ``size`` pixels, magnified by ``scale``; pixels without an image have the value ``fill``.

        ``sparse`` asks for ground with few buildings or none, where a source can choose.
        """
        ...


class ImageSource:
    """Crops of whole images: each is scaled, and of what is then larger than the crop a part is drawn.

    This is large-scale jitter with crops of a fixed size (arXiv 2012.07177), as detectron2's ``ResizeScale`` and
    ``FixedSizeCrop`` do it: an image that is smaller stands at the top left.

    Args:
        images: at least one.
        gsd: metres per pixel of crops at a scale of 1, for images whose own is known; None, a pixel stays a pixel.
        image_gsd: metres per pixel of the images; None takes what the annotation file says of each.
        fit: at a scale of 1 an image just fits into the crop, whatever its size.
        labels: (C,) the class in the model of each class of the images; None, they are the same.
    """

    def __init__(
        self,
        images: CocoFolder,
        *,
        gsd: float | None = None,
        image_gsd: float | None = None,
        fit: bool = False,
        labels: Sequence[int] | None = None,
    ) -> None:
        if not len(images):
            raise ArgumentError(f"{images.annotation_file} lists no images.", hint="Check the data set.")
        self.images, self.gsd, self.image_gsd, self.fit = images, gsd, image_gsd, fit
        self._labels = np.arange(len(images.classes)) if labels is None else np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def draw(
        self,
        rng: np.random.Generator,
        *,
        size: int,
        scale: float,
        fill: int,
        sparse: bool = False,
        number: int | None = None,
    ) -> Crop:
        """Draw a crop, of image ``number`` where one is asked for; what is built in an image is not known before."""
        number = int(rng.integers(len(self.images))) if number is None else number
        entry = self.images.image(number)
        factor = scale * self._base(entry, size)
        room = np.maximum(0.0, factor * np.array([entry.width, entry.height]) - size)
        # Whole pixels where there are some: a crop at a scale of 1 is then not resampled.
        left, top = np.minimum(room, np.floor(rng.random(2) * (room + 1))).tolist()
        view = View((left + size / 2) / factor, (top + size / 2) / factor, size, 1 / factor)
        outlines = self.images.outlines(number)
        layers, seen = burn_layers(outlines.polygons, view)
        labels = np.where(outlines.crowd, IGNORED, self._labels[outlines.labels])
        labels = np.where(outlines.merged, MERGED, labels)
        return Crop(cut_pixels(self.images.pixels(number), view, fill=fill), layers, labels[seen])

    def _base(self, entry: CocoImage, size: int) -> float:
        """Return crop pixels an image pixel at a scale of 1."""
        if self.fit:
            return size / max(entry.width, entry.height)
        gsd = self.image_gsd or entry.gsd
        return gsd / self.gsd if gsd is not None and self.gsd is not None else 1.0


class FittedImages(Sequence):
    """Whole images, each scaled as a crop that it just fits: what a model that is trained on such crops is measured on.

    Args:
        source: of the images, with ``fit``.
        size: side of a crop in pixels.
        fill: value of pixels beside an image that is not square.
    """

    def __init__(self, source: ImageSource, *, size: int, fill: int) -> None:
        self.source, self.size, self.fill = source, size, fill

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < len(self):
            raise IndexError(f"Image {number} of {len(self)}.")
        # Nothing is left to be drawn where an image just fits.
        crop = self.source.draw(np.random.default_rng(0), size=self.size, scale=1.0, fill=self.fill, number=number)
        return crop.sample(self.source.images.image(number).path.name)


class SceneSource:
    """Crops of scenes; a scene is drawn as often as its area on the ground, or its number of buildings, calls for.

    Args:
        scenes: at least one.
        gsd: metres per pixel of crops at a scale of 1.
        turned: crops at any angle, not only upright.
    """

    def __init__(self, scenes: Sequence[Scene], *, gsd: float, turned: bool = True) -> None:
        if not scenes:
            raise ArgumentError("There are no scenes to draw crops from.", hint="Check the folders of the data set.")
        self.scenes, self.gsd, self.turned = Scenes(scenes), gsd, turned
        ground = np.array([scene.area.area * scene.gsd**2 for scene in self.scenes])
        buildings = np.array([len(scene.footprints) for scene in self.scenes], dtype=float)
        self._ground = ground / ground.sum()
        self._shares = (self._ground + buildings / buildings.sum()) / 2 if buildings.any() else self._ground

    def draw(self, rng: np.random.Generator, *, size: int, scale: float, fill: int, sparse: bool = False) -> Crop:
        views = []
        for _ in range(_SPARSE_OF if sparse else 1):
            scene = self.scenes[int(rng.choice(len(self.scenes), p=self._ground if sparse else self._shares))]
            views.append((scene, scene.draw_view(rng, size=size, gsd=self.gsd / scale, turned=self.turned)))
        scene, view = min(views, key=lambda drawn: drawn[0].footprints_in(drawn[1])) if sparse else views[0]
        return scene.crop(view, fill=fill)


def image_scenes(images: CocoFolder, *, gsd: float | None = None) -> list[Scene]:
    """Read all images of a folder with one class into memory.

    Args:
        images: each of them knows its metres per pixel, or ``gsd`` says it.
        gsd: metres per pixel of all images, instead of what the file says.

    Raises:
        ArgumentError: there are several classes, or the metres per pixel are not known.
    """
    if len(images.classes) > 1:
        raise ArgumentError(
            f"{images.annotation_file} has the classes {', '.join(images.classes)}; only images of one class can be kept in "
            "memory as ground.",
            hint="Set in_memory=false.",
        )
    scenes = []
    for number in range(len(images)):
        entry, outlines = images.image(number), images.outlines(number)
        own = gsd if gsd is not None else entry.gsd
        if own is None:
            raise ArgumentError(
                f"The metres per pixel of {entry.path} (id {entry.id}) are not known.",
                hint="Give gsd in the source's config, or a `gsd` for each image in the annotation file.",
            )
        region = outlines.crowd & ~outlines.merged
        polygons, merged = outlines.polygons[~region], outlines.merged[~region]
        scenes.append(Scene(images.pixels(number), polygons, own, None, entry.path.stem, merged, outlines.polygons[region]))
    return scenes


class SyntheticSource:
    """Crops of a pool of synthetic towns, painted when they are first asked for.

    Args:
        count: of towns.
        gsd: metres per pixel of crops at a scale of 1.
        size: side of a town in pixels.
        town_gsd: range of metres per pixel of the towns, drawn for each.
        seed: of the first town; the others follow. Towns of one range of seeds are another data set than those of another.
        styles: weights of the styles; all alike by default.
        cache: a folder where painted towns are kept, shared by processes and runs.
        in_memory: how many towns a process keeps.
    """

    def __init__(
        self,
        count: int,
        *,
        gsd: float,
        size: int = 768,
        town_gsd: tuple[float, float] = (0.24, 0.32),
        seed: int = 0,
        styles: dict[str, float] | None = None,
        cache: str | Path | None = None,
        in_memory: int = 400,
    ) -> None:
        unknown = set(styles or {}) - STYLES.keys()
        if unknown or count < 1:
            raise ArgumentError(
                f"A pool of {count} towns of the styles {sorted(styles or STYLES)} cannot be painted.",
                hint=f"Give a count of 1 or more, and styles out of {', '.join(STYLES)}.",
            )
        self.count, self.gsd, self.size, self.town_gsd, self.seed = count, gsd, size, town_gsd, seed
        self.styles = styles or dict.fromkeys(STYLES, 1.0)
        self.cache = Path(cache) if cache is not None else None
        self.in_memory = in_memory
        self._scenes: OrderedDict[int, Scene] = OrderedDict()

    def draw(self, rng: np.random.Generator, *, size: int, scale: float, fill: int, sparse: bool = False) -> Crop:
        scene = self.scene(int(rng.integers(self.count)))
        # A town can be planned at any angle, so its crops need not be turned, and stay free of the blur of turning.
        return scene.crop(scene.draw_view(rng, size=size, gsd=self.gsd / scale, turned=False), fill=fill)

    def scene(self, number: int) -> Scene:
        """Return town ``number`` of the pool, counted from zero."""
        scene = self._scenes.get(number)
        if scene is None:
            scene = self._load(number) or self._paint(number)
            self._scenes[number] = scene
            if len(self._scenes) > self.in_memory:
                self._scenes.popitem(last=False)
        self._scenes.move_to_end(number)
        return scene

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scenes": OrderedDict()}  # a worker paints or loads what it needs

    def _paint(self, number: int) -> Scene:
        rng = np.random.default_rng([self.seed, number])
        style = draw_by_weight(rng, self.styles)
        town = SyntheticTown(self.seed + number, self.size, float(rng.uniform(*self.town_gsd)), style)
        scene = Scene(town.image, np.array(town.footprints, dtype=object), town.gsd, None, f"{style} {town.seed}")
        if self.cache is not None:
            self._save(number, scene)
        return scene

    def _file(self, number: int) -> Path:
        low, high = self.town_gsd
        return self.cache / f"town{GENERATION}-{self.seed + number}-{self.size}-{low:g}-{high:g}-{'-'.join(self.styles)}.npz"

    def _load(self, number: int) -> Scene | None:
        if self.cache is None or not self._file(number).is_file():
            return None
        with np.load(self._file(number)) as stored:
            ends = np.cumsum(stored["lengths"])
            content = stored["outlines"].tobytes()
            outlines = [content[end - length : end] for end, length in zip(ends, stored["lengths"], strict=True)]
            footprints = shapely.from_wkb(np.array(outlines, dtype=object)) if outlines else []
            return Scene(stored["image"], footprints, float(stored["gsd"]), None, str(stored["name"]))

    def _save(self, number: int, scene: Scene) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        outlines = [shapely.to_wkb(polygon) for polygon in scene.footprints]
        partial = self._file(number).with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as target:
            np.savez(
                target,
                image=scene.image,
                outlines=np.frombuffer(b"".join(outlines), dtype=np.uint8),
                lengths=np.array([len(outline) for outline in outlines], dtype=np.int64),
                gsd=scene.gsd,
                name=scene.name,
            )
        partial.replace(self._file(number))
