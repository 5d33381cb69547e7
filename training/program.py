"""Train a model from a config: from the data to a model file, in one folder that can be resumed."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from engine.errors import ConfigError, ModelFileError
from engine.job import Job
from engine.model.build import build_model
from engine.model.config import AnyModelConfig
from engine.model.maskdino import MaskDino
from engine.model.model_file import read_header
from engine.model.presets import PRESETS
from training.activation_checkpointing import checkpoint_activations
from training.batches import Batches, check_batch
from training.config import RunConfig, TrainConfig
from training.data.leakage import warn_of_leakage
from training.data.training_data import TrainingData, open_training_data
from training.history import History
from training.job_progress import JobProgress
from training.machine import choose_machine
from training.model_card import save_trained
from training.module import TrainingModule
from training.objectives import build_objective
from training.prediction_pictures import PredictionPictures
from training.run_folder import RunFolder
from training.score_calibration import balance_scores
from training.start import start_from

log = logging.getLogger(__name__)

_ROWS = 200  # of losses in the history of a run, or one every 20 steps


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
    main = rank_zero_only.rank == 0
    run, machine = config.run, choose_machine(config.run)
    check_batch(run, world=machine.world)
    folder = RunFolder(output)
    if main:
        folder.check(config, resume=resume)
    data = open_training_data(config.data, config.augmentation, seed=run.seed)
    if main:
        _say_what_was_read(data)
        if run.check_leakage:
            warn_of_leakage(data)
    steps, validate_every = _lengths(run, data)
    model = _build(config, data)
    module = TrainingModule(build_objective(model, config.losses, guide=config.guide), config, steps=steps)
    if main:  # not before: a config that cannot work leaves no run behind
        folder.begin(config)
    raw, history = RawWeights(), History(folder.path, every=max(1, min(20, steps // _ROWS)))
    watching = [history, JobProgress(job, checkpoint=folder.last)]
    trainer = lightning.Trainer(
        **machine.settings(run),
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=config.optimizer.clip,
        val_check_interval=validate_every * run.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if len(data.validation) else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=history.every,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=_tensorboard(folder),
        callbacks=[raw, *_callbacks(config, data, folder, validate_every), *watching],
    )
    batches = Batches(data, run, steps=steps)
    going_on = str(folder.last) if resume and folder.last.exists() else None
    # weights_only: a checkpoint is an untrusted file like any other
    trainer.fit(module, datamodule=batches, ckpt_path=going_on, weights_only=True)
    if len(data.validation) and module.validated != steps:
        trainer.validate(module, datamodule=batches, verbose=False)
    if not trainer.is_global_zero:
        return None
    finished = module.model.cpu()
    f1 = balance_scores(finished, data.validation) if run.calibrate else None
    path = save_trained(
        folder, finished, config=config, data=data, scores=module.scores, calibrated_f1=f1, steps=steps,
        seconds=history.seconds, device=str(machine), raw=raw.weights if run.average else None,
    )  # fmt: skip
    return Trained(path, folder.path, steps, history.seconds, read_header(path).training.figures)


class RawWeights(Callback):
    """Keep the last weights themselves, before their average takes their place.

    It has to stand before the averaging callback.
    """

    weights: dict[str, torch.Tensor] | None = None

    def on_train_end(self, trainer: lightning.Trainer, pl_module: TrainingModule) -> None:
        self.weights = {name: value.detach().cpu().clone() for name, value in pl_module.model.state_dict().items()}


def _check_places(model: MaskDino, size: int) -> None:
    """Refuse crops that have fewer places on the encoder's maps than the model has queries."""
    decoder = model.config.pixel_decoder
    finest = 2 ** min(int(name.removeprefix("res")) for name in decoder.features)
    places = sum((-(-size // (finest << level))) ** 2 for level in range(decoder.levels))
    if places < model.config.decoder.queries:
        raise ConfigError(
            f"data.size is {size}: such crops have {places} places to look at, fewer than the model's "
            f"{model.config.decoder.queries} queries.",
            hint="Train on larger crops.",
        )


def _architecture_of(start_from: str) -> AnyModelConfig:
    try:
        return read_header(start_from).config
    except ModelFileError as error:
        raise ConfigError(
            f"model is empty, and start_from does not say what to build: {error}",
            hint=f"Name a preset, such as model=maskdino_r50; there are {', '.join(PRESETS)}.",
        ) from error


def _callbacks(config: TrainConfig, data: TrainingData, folder: RunFolder, validate_every: int) -> list[Callback]:
    callbacks: list[Callback] = []
    if config.run.average is not None:
        callbacks.append(EMAWeightAveraging(decay=config.run.average))
    keep = {"dirpath": folder.checkpoints, "enable_version_counter": False, "save_on_train_epoch_end": False}
    callbacks.append(ModelCheckpoint(filename="last", every_n_train_steps=validate_every, **keep))
    if len(data.validation):
        callbacks.append(ModelCheckpoint(filename="best", monitor="val/AP50", mode="max", **keep))
        callbacks.append(PredictionPictures(folder.pictures))
    return callbacks


def _tensorboard(folder: RunFolder) -> TensorBoardLogger | bool:
    # The tables of the run hold the same figures, so a machine without TensorBoard can do without.
    return TensorBoardLogger(folder.path, name="tensorboard", version="") if find_spec("tensorboard") else False


def _say_what_was_read(data: TrainingData) -> None:
    log.info(
        "%d training images an epoch, %d validation images, classes: %s",
        len(data.train), len(data.validation), ", ".join(data.classes),
    )  # fmt: skip
    for what, count in data.repairs.items():
        log.warning("%s: %d", what, count)


def _lengths(run: RunConfig, data: TrainingData) -> tuple[int, int]:
    """Return the steps of the run, and those between two validations."""
    epoch = math.ceil(len(data.train) / run.batch)
    steps = run.steps or max(1, round(run.epochs * len(data.train) / run.batch))
    return steps, min(run.validate_every or epoch, steps)


def _build(config: TrainConfig, data: TrainingData) -> nn.Module:
    torch.manual_seed(config.run.seed)
    classes = len(data.classes)
    architecture = config.model if config.model is not None else _architecture_of(config.start_from)
    model = build_model(architecture, num_classes=classes)
    if isinstance(model, MaskDino):
        _check_places(model, config.data.size)
    if config.run.calibrate and not (isinstance(model, MaskDino) and len(data.validation) > 1):
        raise ConfigError("run.calibrate needs a Mask DINO model and two validation images.", hint="Set run.calibrate=false.")
    log.info("%s", start_from(model, config.start_from).summary())
    if config.run.checkpoint_activations:
        checkpoint_activations(model)
    return model
