"""Open the data of a training run: what its config names, as crops to train on and images to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from engine.errors import ArgumentError, ConfigError
from engine.model.header import DataSource
from training.data.augmentation_config import AugmentationConfig
from training.data.coco.folder import CocoFolder
from training.data.config import DataConfig, ImageData, RasterData, SourceConfig, TilesData, TownsData, VocData
from training.data.dataset import TrainingCrops
from training.data.sample import Sample
from training.data.scenes.scene import Scene, SceneWindows
from training.data.sources import CropSource, FittedImages, ImageSource, SceneSource, SyntheticSource, image_scenes
from training.data.voc import VocFolder

_BUILDING = ("building",)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run trains and validates on.

    Attributes:
        train: crops; its length is that of an epoch, and it goes on beyond.
        validation: whole images, or windows of ground, by place; empty where there is nothing to validate on.
        classes: names, in the order of the model's classes.
        gsd: metres per pixel of the crops at a scale of 1; None where there is no one distance.
        records: the training sources, for the model card.
        repairs: what was repaired in annotation files or left out of them, in words, and how often.
        folders: the COCO folders of training and of validation.
    """

    train: TrainingCrops
    validation: Places
    classes: tuple[str, ...]
    gsd: float | None
    records: tuple[DataSource, ...]
    repairs: dict[str, int]
    folders: tuple[list[CocoFolder], list[CocoFolder]]

    @property
    def coco_folders(self) -> tuple[list[Path], list[Path]]:
        """The files of the images of COCO folders, of training and of validation, for who looks for leakage."""
        train, validation = ([path for folder in side for path in folder.paths()] for side in self.folders)
        return train, validation


class Places(Sequence[Sample]):
    """Samples of several places, one place after the other.

    Args:
        places: samples by the name of their place; those of one name are one place.

    Attributes:
        ranges: the numbers of each place's samples, by name.
    """

    def __init__(self, places: Sequence[tuple[str, Sequence[Sample]]]) -> None:
        by_name: dict[str, list[Sequence[Sample]]] = {}
        for name, samples in places:
            if len(samples):
                by_name.setdefault(name, []).append(samples)
        self._parts = [part for parts in by_name.values() for part in parts]
        self._ends = np.cumsum([len(part) for part in self._parts], dtype=np.int64)
        self.ranges: dict[str, range] = {}
        start = 0
        for name, parts in by_name.items():
            end = start + sum(map(len, parts))
            self.ranges[name] = range(start, end)
            start = end

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"Image {index} of {len(self)}.")
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[part][index - (int(self._ends[part - 1]) if part else 0)]


def open_training_data(data: DataConfig, augmentation: AugmentationConfig, *, seed: int) -> TrainingData:
    """Open the sources of a run, and look for what is wrong with them.

    Args:
        data: what to train and validate on.
        augmentation: what is changed in crops at random.
        seed: of all that is drawn.

    Raises:
        ArgumentError: a source is not there, or its data cannot be used; it names file and image.
        ConfigError: sources do not fit together.
    """
    opened = _Opened(data, fill=augmentation.fill)
    sources = [opened.sides(config) for config in data.sources]
    train = TrainingCrops(
        [(side.train, config.weight) for side, config in zip(sources, data.sources, strict=True)],
        length=data.samples_per_epoch,
        size=data.size,
        augmentation=augmentation,
        seed=seed,
        smallest=data.smallest,
        scales=[config.scale for config in data.sources],
    )
    aside = [(config, side.validation) for side, config in zip(sources, data.sources, strict=True)]
    aside += [(config, opened.whole(config)) for config in data.validation]
    return TrainingData(
        train=train,
        validation=Places([(_name(config), samples) for config, samples in aside]),
        classes=opened.classes,
        gsd=data.gsd if data.gsd is not None else _common_gsd(data.sources, opened.folders),
        records=tuple(opened.record(config) for config in data.sources),
        repairs={what: count for folder in opened.folders.values() for what, count in folder.repairs.items()},
        folders=opened.folder_sides(),
    )


@dataclass(frozen=True, eq=False)
class _Sides:
    """What of a source is trained on, and what of it is held out."""

    train: CropSource
    validation: Sequence[Sample]


class _Opened:
    """The sources of a run, each read once, and the classes that they share."""

    def __init__(self, data: DataConfig, *, fill: int) -> None:
        self.data, self.fill = data, fill
        self.folders = {
            config: open_folder(config, complete=config in data.validation)
            for config in (*data.sources, *data.validation)
            if isinstance(config, ImageData)
        }
        first = data.sources[0]
        self.classes = self.folders[first].classes if isinstance(first, ImageData) else _BUILDING

    def sides(self, config: SourceConfig) -> _Sides:
        """Open a source of training crops.

        Raises:
            ArgumentError: what it holds out leaves nothing to train on, or is not in it.
        """
        gsd = self.data.gsd
        if isinstance(config, TownsData):
            self._labels(_BUILDING, config.kind)
            return _Sides(_towns(config, gsd), ())
        folder = self.folders.get(config)
        labels = self._labels(_BUILDING if folder is None else folder.classes, _name(config))
        if isinstance(config, ImageData) and not config.in_memory:
            ours, theirs = _split(folder, config.hold_out)
            source = ImageSource(ours, gsd=gsd, image_gsd=config.gsd, fit=config.fit, labels=labels)
            return _Sides(source, self._images(theirs, config) if len(theirs) else ())
        train, aside = read_scenes(config, folder=folder)
        if not train:
            raise ArgumentError(f"{_name(config)}: nothing is left to train on.", hint="Hold less of it out.")
        return _Sides(SceneSource(train, gsd=gsd), self._windows(aside))

    def whole(self, config: SourceConfig) -> Sequence[Sample]:
        """Return all images of a source as a model is measured on them."""
        folder = self.folders.get(config)
        if isinstance(config, ImageData) and not config.in_memory:
            return self._images(folder, config)
        self._labels(_BUILDING if folder is None else folder.classes, _name(config))
        if isinstance(config, TownsData):
            towns = _towns(config, self.data.gsd)
            return self._windows([towns.scene(number) for number in range(config.count)])
        return self._windows(read_scenes(config, folder=folder)[0])

    def record(self, config: SourceConfig) -> DataSource:
        """Describe a source for the model card."""
        if isinstance(config, TownsData):
            licence, attribution = "GPL-3.0-or-later", "training/data/synthetic/town.py"
            images = config.count
        else:
            folder = self.folders.get(config)
            licence, attribution = (folder and folder.licence) or "unknown", None
            images = None if folder is None else len(_split(folder, config.hold_out)[0])
        return DataSource(
            name=_name(config),
            licence=config.licence or licence,
            attribution=config.attribution or attribution,
            images=images,
        )

    def folder_sides(self) -> tuple[list[CocoFolder], list[CocoFolder]]:
        """Return the COCO folders of training and of validation."""
        train, validation = [], []
        for config in self.data.sources:
            if isinstance(config, ImageData):
                ours, theirs = _split(self.folders[config], config.hold_out)
                train.append(ours)
                validation += [theirs] if len(theirs) else []
        return train, validation + [self.folders[c] for c in self.data.validation if isinstance(c, ImageData)]

    def _images(self, folder: CocoFolder, config: ImageData) -> Sequence[Sample]:
        labels = self._labels(folder.classes, config.folder)
        if config.fit:
            return FittedImages(ImageSource(folder, fit=True, labels=labels), size=self.data.size, fill=self.fill)
        return Relabelled(folder, labels)

    def _windows(self, scenes: Sequence[Scene]) -> Sequence[Sample]:
        return SceneWindows(scenes, size=self.data.size, gsd=self.data.gsd, smallest=self.data.smallest)

    def _labels(self, names: Sequence[str], where: object) -> list[int]:
        """Return which of the model's classes each class of a source is.

        Raises:
            ConfigError: it is none of them.
        """
        if len(names) == len(self.classes) == 1:
            return [0]  # the one thing looked for, whatever a file calls it
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            raise ConfigError(
                f"{where} has the classes {', '.join(unknown)}, which the first of data.sources has not: it has "
                f"{', '.join(self.classes)}.",
                hint="Give sources of the same classes, that with all of them first.",
            )
        return [self.classes.index(name) for name in names]


def read_scenes(
    config: RasterData | TilesData | ImageData, *, folder: CocoFolder | None = None
) -> tuple[list[Scene], list[Scene]]:
    """Read ground into memory: the scenes to train on, and those that are held out.

    Args:
        config: of folders of images, those that are ``in_memory``.
        folder: that of the config, if it is open already.
    """
    # What reads maps and rasters is not needed, and need not be installed, to train on folders of images.
    if isinstance(config, RasterData):
        from training.data.scenes import raster

        return raster.read_sides(config.rasters, config.footprints, config.area, hold_out=config.hold_out, margin=config.margin)
    if isinstance(config, TilesData):
        from training.data.scenes import tiles

        return tiles.read_sides(
            config.folder, image_zoom=config.image_zoom, label_zoom=config.label_zoom, hold_out=config.hold_out
        )
    if folder is None:
        folder = open_folder(config)
    ours, theirs = _split(folder, config.hold_out)
    return image_scenes(ours, gsd=config.gsd), image_scenes(theirs, gsd=config.gsd)


def open_folder(config: ImageData, *, complete: bool = False) -> CocoFolder:
    """Open the folder of images that a config names; ``complete`` as `CocoFolder` has it."""
    if isinstance(config, VocData):
        return VocFolder(config.folder, split=config.split, complete=complete)
    return CocoFolder(config.folder, images=config.images, annotations=config.annotations, complete=complete)


def _split(folder: CocoFolder, hold_out: Sequence[str]) -> tuple[CocoFolder, CocoFolder]:
    """Split a folder into the images to train on and those that patterns hold out.

    Raises:
        ArgumentError: a pattern fits no image, or all images are held out.
    """
    if not hold_out:
        return folder, folder.part([])
    names = [(image.path.name, image.place or "") for image in map(folder.image, range(len(folder)))]
    fits = np.array([[fnmatch(name, p) or fnmatch(place, p) for p in hold_out] for name, place in names], dtype=bool)
    fits = fits.reshape(len(names), len(hold_out))
    for pattern, fitting in zip(hold_out, fits.T, strict=True):
        if not fitting.any():
            raise ArgumentError(
                f"hold_out has the pattern {pattern!r}, which fits no image of {folder.annotation_file}.",
                hint=f"Names and places there are such as {names[0][0]!r} and {names[0][1]!r}.",
            )
    aside = fits.any(axis=1)
    if len(names) and aside.all():
        raise ArgumentError(
            f"hold_out fits all images of {folder.annotation_file}: none is left to train on.",
            hint="Name fewer, or list the folder under data.validation instead.",
        )
    return folder.part(np.flatnonzero(~aside)), folder.part(np.flatnonzero(aside))


def _name(config: SourceConfig) -> str:
    if config.name is not None:
        return config.name
    if isinstance(config, TownsData):
        return "synthetic towns"
    path = config.footprints.parent if isinstance(config, RasterData) else config.folder
    return "/".join(path.resolve().parts[-2:])


def _towns(config: TownsData, gsd: float) -> SyntheticSource:
    return SyntheticSource(
        config.count,
        gsd=gsd,
        size=config.size,
        town_gsd=config.gsd,
        seed=config.seed,
        styles=config.styles,
        cache=config.cache,
    )


def _common_gsd(sources: Sequence[SourceConfig], folders: dict[ImageData, CocoFolder]) -> float | None:
    """Return the metres per pixel that all images have, None where they differ, are not known, or where images are fitted."""
    distances = [None if config.fit else config.gsd or folders[config].gsd for config in sources]
    return distances[0] if len(set(distances)) == 1 else None


class Relabelled(Sequence[Sample]):
    """Samples with the labels of the model in place of their own, ``labels`` (C,) being that of each."""

    def __init__(self, samples: Sequence[Sample], labels: Sequence[int]) -> None:
        self._samples, self._labels = samples, np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        return replace(sample, labels=self._labels[sample.labels])
