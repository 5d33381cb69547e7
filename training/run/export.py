"""Save what a run has trained, with a header that says where it comes from and how good it is."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path

from torch import nn

from engine.model.header import DataSource, ModelHeader, TrainingRecord
from engine.model.model_file import find_model_file, read_header, save_model
from training.config.schema import FittingParts, TrainConfig
from training.data.training_data import TrainingData
from training.evaluation.coco.mask_scores import MaskScores
from training.pretrained.imagenet_packages import PACKAGES, package_record
from training.pretrained.start import is_model_file
from training.run.folder import RunFolder

_UNFINISHED = "Not evaluated: these are the weights after the last step, written before the last validation."


def save_trained(
    folder: RunFolder,
    model: nn.Module,
    *,
    config: TrainConfig,
    data: TrainingData,
    scores: MaskScores | None,
    calibrated_f1: float | None,
    steps: int,
    seconds: float,
    device: str,
    raw: nn.Module | None,
    finished: bool = True,
) -> Path:
    """Write ``NAME.safetensors``, and ``NAME.raw.safetensors`` where the weights were averaged.

    Args:
        scores: of the last validation; None without one.
        calibrated_f1: F1 at a score of 0.5 after the scores were balanced, as the choice did not flatter it.
        raw: the model with the last weights themselves.
        finished: False before the last validation; the files then say that they were not evaluated.

    Returns:
        The path of the first.
    """
    path = folder.path / f"{config.name}.safetensors"
    record = _record(config, data, scores, calibrated_f1, steps=steps, seconds=seconds, device=device)
    about = {
        "name": config.name,
        "licence": config.card.licence,
        "config": model.config,
        "classes": data.classes,
        "gsd": data.gsd,
        "tile_size": config.tile_size or config.data.size,
        "limits": config.card.limits,
    }
    description = config.card.description if finished else f"{config.card.description} {_UNFINISHED}".strip()
    save_model(path, model, ModelHeader(**about, description=description, training=record), dtype=config.store)
    if raw is not None:
        untold = record.model_copy(update={"figures": {}, "evaluated_on": None})
        what = f"The last weights of {config.name} themselves, of which that model is the moving average; not evaluated."
        save_model(folder.path / f"{config.name}.raw.safetensors", raw, ModelHeader(**about, description=what, training=untold))
    return path


def _record(
    config: TrainConfig, data: TrainingData, scores: MaskScores | None, calibrated_f1: float | None, **run: float | str
) -> TrainingRecord:
    figures, evaluated_on = {}, None
    if scores is not None:
        f1 = scores.f1 if calibrated_f1 is None else calibrated_f1
        figures = {"AP50": round(scores.ap50, 3), "AP": round(scores.ap, 3), "F1": round(f1, 3)}
        evaluated_on = (
            f"{scores.images} validation images with {scores.buildings} annotated instances, classes not told apart; "
            f"F1 at a score of {scores.threshold:g} and an IoU of 0.5"
        )
        if calibrated_f1 is not None:
            evaluated_on += ", the scores balanced on one half of the images and measured on the other"
    return TrainingRecord(
        trained_by=config.card.trained_by,
        data=tuple(dict.fromkeys((*data.records, *(record for source in config.starts for record in source_records(source))))),
        started_from=", then ".join(_source_name(source) for source in config.starts) or None,
        finished=datetime.date.today().isoformat(),
        hours=round(run["seconds"] / 3600, 2),
        steps=run["steps"],
        device=f"{run['device']}, {platform.machine()}",
        figures=figures,
        evaluated_on=evaluated_on,
    )


def source_records(source: str | FittingParts) -> tuple[DataSource, ...]:
    """Return what a training's start was itself trained on, as far as it says so: its licences hold for what comes of it."""
    if source in PACKAGES:
        return (package_record(source),)
    path = find_model_file(source.file if isinstance(source, FittingParts) else source)
    if not is_model_file(path):
        return ()
    record = read_header(path).training
    return () if record is None else record.data


def _source_name(source: str | FittingParts) -> str:
    return f"parts of {Path(source.file).name}" if isinstance(source, FittingParts) else Path(source).name
