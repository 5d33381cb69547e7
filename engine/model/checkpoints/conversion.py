"""Turn a published checkpoint into a model file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import ArgumentError, ModelFileError
from engine.files.output_file import refuse_inputs
from engine.model.checkpoints.catalogue import PublishedModel, find_published
from engine.model.checkpoints.coco_classes import COCO_CLASSES
from engine.model.checkpoints.reader import read_published
from engine.model.checkpoints.segmentation_classes import ADE20K_CLASSES, CITYSCAPES_CLASSES, COCO_PANOPTIC_CLASSES
from engine.model.families.registry import recognised_family
from engine.model.file_errors import about_file
from engine.model.header import DataSource, ModelHeader, TrainingRecord
from engine.model.model_file import save_model
from engine.model.presets import preset as preset_named
from engine.model.presets import preset_of

log = logging.getLogger(__name__)

_KNOWN_CLASSES = {
    len(classes): classes for classes in (COCO_CLASSES, COCO_PANOPTIC_CLASSES, ADE20K_CLASSES, CITYSCAPES_CLASSES)
}
_STEPS = 4  # read, recognised, filled in, written
_SEED = 0  # of the fresh classifier: converting twice gives the same file


@dataclass(frozen=True)
class Conversion:
    """What came of a conversion.

    Attributes:
        left_out: published names of the tensors that were not taken over.
        preset: the preset that the model is, None where it is none.
    """

    path: Path
    header: ModelHeader
    preset: str | None
    left_out: tuple[str, ...]


def convert_published(
    published: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    preset: str | None = None,
    classes: tuple[str, ...] | None = None,
    num_classes: int | None = None,
    drop_classes: bool = False,
    gsd: float | None = None,
    tile_size: int | None = None,
    half: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Conversion:
    """Convert a published checkpoint.

    Args:
        preset: which one it is; told by the tensors' shapes where it is not given.
        classes: names of the classes.
        num_classes: how many, where they have no names.
        drop_classes: leave the checkpoint's classifier and label embedding out and start fresh ones, for "building" alone
            where neither ``classes`` nor ``num_classes`` say otherwise. Such a model detects nothing before it is trained.
        gsd: metres per pixel that the model was trained at.
        tile_size: side of the tiles to detect in, in pixels.
        half: store as float16.
        progress: called with the number of steps that are done, of how many. What it raises ends the conversion, which has
            written nothing then.

    Raises:
        UnsafeFileError, ModelFileError: see ``read_published``.
        CheckpointMismatchError: its tensors are not those of the preset.
        ArgumentError: other classes than the checkpoint's without ``drop_classes``, or counts that do not agree.
        OutputError: the model file cannot be written.
    """
    output = Path(output)
    if output.suffix != ".safetensors":
        raise ArgumentError(f"The output {output.name!r} is not a model file.", hint="Let its name end on .safetensors.")
    refuse_inputs({"output": output}, [published])
    progress(0, _STEPS)
    checkpoint = read_published(published)  # before the imports that take seconds: most faults show here

    progress(1, _STEPS)
    import torch

    from engine.model.build import build_model
    from engine.model.checkpoints.published_state import load_official

    known = find_published(checkpoint.path.name)
    with about_file("The checkpoint", checkpoint.path):
        family = recognised_family(checkpoint.tensors)
        if preset is not None and preset_named(preset).kind != family.kind:
            raise ModelFileError(f"it is a {family.title}, the preset {preset!r} is not.")
        config = family.published_config(checkpoint.tensors, preset_name=preset, known=known)
        if drop_classes and classes is None and num_classes is None:
            classes = ("building",)
        wanted = _wanted_classes(config.num_classes, classes, num_classes, drop_classes=drop_classes)
        names = classes or _class_names(wanted, known_names=not drop_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            model = build_model(config, num_classes=wanted)
        progress(2, _STEPS)
        report = load_official(model, checkpoint.tensors, skip_class_heads=drop_classes)
    progress(3, _STEPS)
    fit = {key: value for key, value in {"gsd": gsd, "tile_size": tile_size}.items() if value is not None}
    about = {"name": output.stem, "config": model.config, "classes": names} | fit
    header = _header(about, checkpoint.path, known, dropped=drop_classes)
    save_model(output, model, header, dtype="float16" if half else "float32")
    return Conversion(output, header, preset_of(model.config), report.skipped)


def _wanted_classes(trained: int, classes: tuple[str, ...] | None, num_classes: int | None, *, drop_classes: bool) -> int:
    if classes is not None and num_classes is not None and len(classes) != num_classes:
        raise ArgumentError(f"There are {len(classes)} class names ({', '.join(classes)}) for {num_classes} classes.")
    wanted = num_classes or (len(classes) if classes else trained)
    if wanted != trained and not drop_classes:
        raise ArgumentError(
            f"The checkpoint was trained on {trained} classes, and {wanted} are asked for.",
            hint="With --drop-classes its classifier is left out, and has to be trained again.",
        )
    return wanted


def _class_names(count: int, *, known_names: bool) -> tuple[str, ...]:
    if known_names and count in _KNOWN_CLASSES:
        return _KNOWN_CLASSES[count]
    return ("building",) if count == 1 else tuple(f"class {index}" for index in range(count))


def _header(about: dict[str, Any], path: Path, known: PublishedModel | None, *, dropped: bool) -> ModelHeader:
    training = TrainingRecord(trained_by="unknown", started_from=path.name)
    if known is not None:
        training = TrainingRecord(
            trained_by=known.makers,
            data=(DataSource(name=known.data, licence="see the data set's own terms"),),
            started_from=known.url,
            figures={} if dropped else known.figures,
            evaluated_on=None if dropped else f"{known.data} validation images, in per cent",
        )
    try:
        return ModelHeader(
            **about,
            description=f"Converted from the published checkpoint {path.name}.",
            licence=known.licence if known else None,
            training=training,
            limits="Its classifier is untrained: train it before detecting anything." if dropped else "",
        )
    except ValidationError as error:
        fault = error.errors()[0]
        argument = str(fault["loc"][0]).replace("_", "-") if fault["loc"] else "header"
        raise ArgumentError(f"--{argument} {fault['input']} cannot be: {fault['msg'].lower()}.") from error
