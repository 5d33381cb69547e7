"""Train a model from a config: from the data to a model file, in one folder that can be resumed."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from engine.device import choose_device
from engine.errors import ConfigError
from engine.job import Job
from engine.model.build import build_model
from engine.model.maskdino import MaskDino
from engine.model.model_file import read_header
from training.activation_checkpointing import checkpoint_activations
from training.batches import Batches, check_batch
from training.config import RunConfig, TrainConfig
from training.data.leakage import warn_of_leakage
from training.data.training_data import TrainingData, open_training_data
from training.history import History
from training.job_progress import JobProgress
from training.model_card import save_trained
from training.module import TrainingModule
from training.objectives import build_objective
from training.prediction_pictures import PredictionPictures
from training.run_folder import RunFolder
from training.score_calibration import balance_scores
from training.start import start_from

log = logging.getLogger(__name__)

_ROWS = 200  # of losses in the history of a run, or one every 20 steps
_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


@dataclass(frozen=True)
class Trained:
    """What came of a run.

    Attributes:
        model: the model file of the averaged weights, or of the raw ones where none were averaged.
        folder: with everything else.
        steps: of the whole run.
        seconds: over all its parts.
        figures: of the last validation, by name; empty without one.
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
    run = config.run
    accelerator, devices = _devices(run)
    world = (devices if isinstance(devices, int) else len(devices)) * run.nodes
    check_batch(run, world=world)
    folder = RunFolder(output)
    if main:
        folder.prepare(config, resume=resume)
    data = open_training_data(config.data, config.augmentation, seed=run.seed)
    if main:
        _say_what_was_read(data)
        if run.check_leakage:
            warn_of_leakage(data)
    steps, validate_every = _lengths(run, data)
    torch.manual_seed(run.seed)
    model = _build(config, data)
    if run.calibrate and not (isinstance(model, MaskDino) and len(data.validation) > 1):
        raise ConfigError("run.calibrate needs a Mask DINO model and two validation images.", hint="Set run.calibrate=false.")
    if run.checkpoint_activations:
        checkpoint_activations(model)
    objective = build_objective(model, config.losses, guide=config.guide)
    module = TrainingModule(objective, config, steps=steps)
    history = History(folder.path, every=max(1, min(20, steps // _ROWS)))
    raw = RawWeights()
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=run.nodes,
        strategy=_strategy(accelerator, world),
        precision=_precision(run, accelerator),
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=config.optimizer.clip,
        val_check_interval=validate_every * run.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if len(data.validation) else 0,
        num_sanity_val_steps=0,
        sync_batchnorm=run.sync_batch_norm and accelerator == "gpu" and world > 1,
        use_distributed_sampler=False,
        log_every_n_steps=history.every,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=TensorBoardLogger(folder.path, name="tensorboard", version=""),
        # submitit asks for the job again by itself
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
        callbacks=[raw, *_callbacks(config, data, folder, validate_every), history, JobProgress(job, checkpoint=folder.last)],
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
        seconds=history.seconds, device=f"{world} x {accelerator}", raw=raw.weights if run.average else None,
    )  # fmt: skip
    figures = {} if module.scores is None else {"AP50": module.scores.ap50, "AP": module.scores.ap, "F1": module.scores.f1}
    return Trained(path, folder.path, steps, history.seconds, figures)


class RawWeights(Callback):
    """Keep the last weights themselves, before their average takes their place.

    It has to stand before the averaging callback.
    """

    weights: dict[str, torch.Tensor] | None = None

    def on_train_end(self, trainer: lightning.Trainer, pl_module: TrainingModule) -> None:
        self.weights = {name: value.detach().cpu().clone() for name, value in pl_module.model.state_dict().items()}


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
    classes = len(data.classes)
    architecture = config.model if config.model is not None else read_header(config.start_from).config
    model = build_model(architecture, num_classes=classes)
    report = start_from(model, config.start_from)
    log.info("%s", report.summary())
    return model


def _devices(run: RunConfig) -> tuple[str, int | list[int]]:
    """Return Lightning's accelerator and its devices."""
    device = choose_device(run.device)
    kind, _, number = device.partition(":")
    if kind == "cuda":
        if number:
            if (run.devices or 1) != 1:
                raise ConfigError(
                    f"run.device is {device!r}, one GPU, and run.devices is {run.devices}.", hint="Set run.device=cuda."
                )
            return "gpu", [int(number)]
        return "gpu", run.devices or torch.cuda.device_count()
    return kind, run.devices or 1


def _strategy(accelerator: str, world: int) -> str | DDPStrategy:
    if world == 1:
        return "auto"
    return DDPStrategy(process_group_backend="nccl" if accelerator == "gpu" else "gloo", gradient_as_bucket_view=True)


def _precision(run: RunConfig, accelerator: str) -> str:
    if run.precision != "auto":
        return _PRECISIONS[run.precision]
    fast = accelerator == "gpu" and torch.cuda.is_bf16_supported(including_emulation=False)
    return _PRECISIONS["bfloat16" if fast else "float32"]
