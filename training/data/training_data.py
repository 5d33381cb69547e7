"""Open the data of a training run: what its config names, as crops to train on and images to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import ConfigError
from engine.model.model_header import DataSource
from training.data.augmentation_config import AugmentationConfig
from training.data.coco import CocoFolder
from training.data.config import CocoData, DataConfig, GroundData, SourceConfig, TownsData
from training.data.dataset import TrainingCrops
from training.data.sample import Sample
from training.data.scene import SceneWindows
from training.data.sources import CropSource, FittedImages, ImageSource, SceneSource, SyntheticSource

if TYPE_CHECKING:
    from training.data.tiny_model_data import Ground

_BUILDING = ("building",)
_TOWNS = DataSource(name="synthetic towns", licence="GPL-3.0-or-later", attribution="training/data/synthetic.py")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run trains and validates on.

    Attributes:
        train: crops; its length is that of an epoch, and it goes on beyond.
        validation: whole images, or windows of ground; empty where there is nothing to validate on.
        classes: names, in the order of the model's classes.
        gsd: metres a pixel of the crops at a scale of 1; None where there is no one distance.
        records: the training sources, for the model card.
        repairs: what was repaired in annotation files or left out of them, in words, and how often.
        folders: the COCO folders of training and of validation.
    """

    train: TrainingCrops
    validation: Sequence[Sample]
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
    sources = [(opened.source(config), config.weight) for config in data.sources]
    train = TrainingCrops(
        sources, length=data.samples_per_epoch, size=data.size, augmentation=augmentation, seed=seed, smallest=data.smallest
    )
    sides = tuple([opened.folders[c] for c in side if isinstance(c, CocoData)] for side in (data.sources, data.validation))
    return TrainingData(
        train=train,
        validation=Chained([opened.validation(config) for config in data.validation]),
        classes=opened.classes,
        gsd=data.gsd if data.gsd is not None else _common_gsd(data.sources, opened.folders),
        records=tuple(record for config in data.sources for record in opened.records(config)),
        repairs={what: count for folder in opened.folders.values() for what, count in folder.repairs.items()},
        folders=sides,
    )


class _Opened:
    """The sources of a run, each read once, and the classes that they share."""

    def __init__(self, data: DataConfig, *, fill: int) -> None:
        self.data, self.fill = data, fill
        everything = (*data.sources, *data.validation)
        self.folders = {
            config: CocoFolder(
                config.folder, images=config.images, annotations=config.annotations, complete=config in data.validation
            )
            for config in everything
            if isinstance(config, CocoData)
        }
        self.grounds: dict[Path, tuple[Ground, Ground]] = {}
        for config in everything:
            if isinstance(config, GroundData) and config.folder not in self.grounds:
                # Ground alone needs geospatial packages: a machine made for training may lack them.
                from training.data.tiny_model_data import read_ground

                self.grounds[config.folder] = read_ground(config.folder)
        first = data.sources[0]
        self.classes = self.folders[first].classes if isinstance(first, CocoData) else _BUILDING

    def source(self, config: SourceConfig) -> CropSource:
        """Return what training crops of a source are drawn from."""
        gsd = self.data.gsd
        if isinstance(config, CocoData):
            folder = self.folders[config]
            labels = self._labels(folder.classes, config.folder)
            return ImageSource(folder, gsd=gsd, image_gsd=config.gsd, fit=config.fit, labels=labels)
        self._labels(_BUILDING, config.kind)
        if isinstance(config, GroundData):
            return SceneSource(self.grounds[config.folder][0].scenes, gsd=gsd)
        return _towns(config, gsd)

    def validation(self, config: SourceConfig) -> Sequence[Sample]:
        """Return the images of a source as a model is measured on them."""
        if isinstance(config, CocoData):
            if config.fit:
                return FittedImages(self.source(config), size=self.data.size, fill=self.fill)
            folder = self.folders[config]
            return Relabelled(folder, self._labels(folder.classes, config.folder))
        self._labels(_BUILDING, config.kind)
        if isinstance(config, GroundData):
            scenes = self.grounds[config.folder][1].scenes
        else:
            towns = _towns(config, self.data.gsd)
            scenes = [towns.scene(number) for number in range(config.count)]
        return SceneWindows(scenes, size=self.data.size, gsd=self.data.gsd, smallest=self.data.smallest)

    def records(self, config: SourceConfig) -> Sequence[DataSource]:
        """Describe a source for the model card."""
        if isinstance(config, CocoData):
            folder = self.folders[config]
            return [
                DataSource(
                    name="/".join(config.folder.resolve().parts[-2:]), licence=folder.licence or "unknown", images=len(folder)
                )
            ]
        if isinstance(config, GroundData):
            from training.data.tiny_model_data import GROUND_RECORDS

            return GROUND_RECORDS
        return [_TOWNS.model_copy(update={"images": config.count})]

    def _labels(self, names: Sequence[str], where: object) -> list[int]:
        """Say which of the model's classes each class of a source is.

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


def _common_gsd(sources: Sequence[SourceConfig], folders: dict[CocoData, CocoFolder]) -> float | None:
    """Return the metres a pixel that all images have, None where they differ, are not known, or where images are fitted."""
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


class Chained(Sequence[Sample]):
    """Several sequences of samples, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Sample]]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"Image {index} of {len(self)}.")
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[part][index - (int(self._ends[part - 1]) if part else 0)]
