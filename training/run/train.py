"""Train a model from a config: from the data to a model file, in one folder that can be resumed."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from engine.errors import CancelledError, ConfigError, ModelFileError
from engine.job import Job
from engine.model.build import build_model
from engine.model.config import FamilyConfig
from engine.model.families.family_model import FamilyModel
from engine.model.families.registry import family_of
from engine.model.model_file import read_header
from engine.model.presets import PRESETS
from training.callbacks.history import History
from training.callbacks.job_progress import JobProgress
from training.callbacks.last_weights import LastWeights
from training.callbacks.moving_average import MovingAverage
from training.callbacks.prediction_pictures import PredictionPictures
from training.callbacks.run_length import RunLength
from training.config.schema import RunConfig, TrainConfig
from training.data.audit.leakage import warn_of_leakage
from training.data.training_data import TrainingData, open_training_data
from training.objectives import objective_of
from training.pretrained.start import start_from_each
from training.run.activation_checkpointing import checkpoint_activations
from training.run.data_module import Batches, check_batch
from training.run.export import save_trained
from training.run.folder import RunFolder
from training.run.module import TrainingModule
from training.run.score_calibration import balance_scores
from training.run.trainer_settings import choose_trainer_settings

log = logging.getLogger(__name__)

_ROWS = 200  # of losses in the history of a run, or one every 20 steps
_LEAST_BETWEEN = 1.0  # minutes between two validations of a run that the clock ends
_MOST_STEPS = 1 << 40  # of a run that the clock ends


@dataclass(frozen=True)
class Trained:
    """What came of a run.

    Attributes:
        model: the model file of the averaged weights, or of the raw ones where none were averaged.
        folder: with everything else.
        steps: of the whole run.
        seconds: over all its parts.
        figures: of the model in that file, by name; empty without validation images.
    """

    model: Path
    folder: Path
    steps: int
    seconds: float
    figures: dict[str, float]


def train(config: TrainConfig, output: str | Path, *, job: Job, resume: bool = False) -> Trained | None:
    """Train.

    Args:
        config: what and how.
        output: a new folder, or with ``resume`` one of an earlier run of the same config.
        job: hears of the progress and can end the run, which then can be resumed.

    Returns:
        What came of it; None in the processes that merely help the first one.

    Raises:
        ConfigError, ArgumentError: something cannot work; said before the first step.
        CancelledError: the job was cancelled.
        DivergedError: a loss is no longer a number.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):  # they say on standard error what they found, and what else there is
        logging.getLogger(name).setLevel(logging.WARNING)
    began, main = time.monotonic(), rank_zero_only.rank == 0
    run, trainer_settings = config.run, choose_trainer_settings(config.run)
    check_batch(run, world=trainer_settings.world)
    folder = RunFolder(output)
    if main:
        folder.check(config, resume=resume)
    data = open_training_data(config.data, config.augmentation, seed=run.seed)
    if main:
        _log_what_was_read(data)
        if run.check_leakage:
            warn_of_leakage(data)
    steps, every = _lengths(run, data)
    length = RunLength(steps=steps, minutes=run.minutes, afterwards=float(run.calibrate), began=began)
    model = _build(config, data)
    objective = objective_of(model.config).build(model, config.losses, auxiliary_loss=config.auxiliary_loss)
    module = TrainingModule(objective, config, length=length, places=data.validation.ranges)
    if main:  # not before: a config that cannot work leaves no run behind
        folder.begin(config)
    history = History(folder.path, every=20 if steps is None else max(1, min(20, steps // _ROWS)), length=length)
    average = MovingAverage(run.average) if run.average is not None else None
    progress = JobProgress(job, checkpoint=folder.last, length=length)

    def save(module: TrainingModule, *, f1: float | None = None, finished: bool = False) -> Path:
        averaged, raw = (module, None) if average is None else average.averaged_and_raw(module)
        return save_trained(
            folder, averaged.model, raw=None if raw is None else raw.model, config=config, data=data, finished=finished,
            scores=module.scores if finished else None, calibrated_f1=f1, steps=trainer.global_step, seconds=length.seconds,
            device=str(trainer_settings),
        )  # fmt: skip

    trainer = lightning.Trainer(
        **trainer_settings.settings(run),
        max_steps=-1 if steps is None else steps,
        max_epochs=-1,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=config.optimizer.clip,
        val_check_interval=every * run.accumulate if isinstance(every, int) else every,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if len(data.validation) else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=history.every,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=_tensorboard(folder),
        callbacks=[
            length,
            *([average] if average is not None else []),
            *_callbacks(data, folder, every),
            history,
            LastWeights(save, checkpoint=folder.last, job=job, length=length),
            progress,
        ],
    )
    batches = Batches(data, run, steps=_MOST_STEPS if steps is None else steps)
    going_on = str(folder.last) if resume and folder.last.exists() else None
    try:
        # weights_only: a checkpoint is an untrusted file like any other
        trainer.fit(module, datamodule=batches, ckpt_path=going_on, weights_only=True)
        if len(data.validation) and module.validated != trainer.global_step:
            trainer.validate(module, datamodule=batches, verbose=False)
    except RuntimeError as error:
        if job.cancelled.is_set() and not isinstance(error, CancelledError):  # the signal reached the workers too
            raise progress.cancelled_at(trainer.global_step) from error
        raise
    if not trainer.is_global_zero:
        return None
    f1 = balance_scores(module.model.cpu(), module.accumulator) if run.calibrate else None
    path = save(module, f1=f1, finished=True)
    return Trained(path, folder.path, trainer.global_step, length.seconds, read_header(path).training.figures)


def _architecture_of(start_from: str) -> FamilyConfig:
    try:
        return read_header(start_from).config
    except ModelFileError as error:
        raise ConfigError(
            f"model is empty, and start_from does not say what to build: {error}",
            hint=f"Name a preset, such as model=maskdino_r50; there are {', '.join(PRESETS)}.",
        ) from error


def _callbacks(data: TrainingData, folder: RunFolder, every: int | timedelta) -> list[Callback]:
    callbacks: list[Callback] = []
    keep = {"dirpath": folder.checkpoints, "enable_version_counter": False, "save_on_train_epoch_end": False}
    when = {"every_n_train_steps": every} if isinstance(every, int) else {"train_time_interval": every}
    callbacks.append(ModelCheckpoint(filename="last", **when, **keep))
    if len(data.validation):
        callbacks.append(ModelCheckpoint(filename="best", monitor="val/AP50", mode="max", **keep))
        callbacks.append(PredictionPictures(folder.pictures))
    return callbacks


def _tensorboard(folder: RunFolder) -> TensorBoardLogger | bool:
    # The tables of the run hold the same figures, so a machine without TensorBoard can do without.
    return TensorBoardLogger(folder.path, name="tensorboard", version="") if find_spec("tensorboard") else False


def _log_what_was_read(data: TrainingData) -> None:
    log.info(
        "%d training images per epoch, %d validation images, classes: %s",
        len(data.train), len(data.validation), ", ".join(data.classes),
    )  # fmt: skip
    for what, count in data.repairs.items():
        log.warning("%s: %d", what, count)


def _lengths(run: RunConfig, data: TrainingData) -> tuple[int | None, int | timedelta]:
    """Return the steps of the run, None where the clock ends it, and the steps or the time between two validations."""
    if run.minutes is not None:
        quarter = run.minutes / 4
        return None, run.validate_every or timedelta(minutes=quarter if quarter >= _LEAST_BETWEEN else run.minutes)
    every = run.validate_every or math.ceil(len(data.train) / run.batch)
    steps = run.steps or max(1, round(run.epochs * len(data.train) / run.batch))
    return steps, min(every, steps)


def _build(config: TrainConfig, data: TrainingData) -> FamilyModel:
    torch.manual_seed(config.run.seed)
    classes = len(data.classes)
    architecture = config.model if config.model is not None else _architecture_of(config.start_from)
    model = build_model(architecture, num_classes=classes)
    objective_of(model.config).check_crops(model.config, config.data.size)
    if config.run.calibrate:
        _check_calibration(model, data)
    for report in start_from_each(model, config.starts):
        log.info("%s", report.summary())
    if config.run.checkpoint_activations:
        checkpoint_activations(model)
    return model


def _check_calibration(model: FamilyModel, data: TrainingData) -> None:
    family = family_of(model.config)
    if family.score_bias(model.config) is None or len(data.validation) < 2:
        raise ConfigError(
            f"run.calibrate needs two validation images (there are {len(data.validation)}) and a model whose scores can be "
            f"shifted, because each class has a probability of its own (it is {family.summary(model.config)}).",
            hint="Set run.calibrate=false.",
        )
