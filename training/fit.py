"""A plain, resumable training loop: one device, one process."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.model.maskdino import MaskDino
from training.losses import Criterion, DenseGuide, LossConfig, Target, make_denoising_queries

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How long and how fast to train.

    Attributes:
        seconds: of training, over all resumed runs; validation and saving are not counted.
        learning_rate: reached after ``warm_up`` steps, kept for the first part, then lowered to zero along a cosine.
        decay_from: the share of the training after which the rate falls.
        clip: largest norm of the whole gradient.
        average: decay of the moving average of the weights; the averaged weights are the result.
        guide: weight of the dense loss that helps per-pixel embeddings on their way.
        checkpoint_every: seconds between two checkpoints.
        validate_every: seconds between two validations.
    """

    seconds: float
    learning_rate: float = 4e-4
    weight_decay: float = 0.05
    warm_up: int = 200
    decay_from: float = 0.5
    clip: float = 0.1
    average: float = 0.998
    guide: float = 20.0
    checkpoint_every: float = 300
    validate_every: float = 900


class Fit:
    """Train a model on batches for a given time; stop and go on as often as needed.

    Args:
        model: on its device.
        losses: what to train it for.
        settings: how.
        folder: where ``checkpoint.pt`` and ``losses.csv`` are kept. A checkpoint found there is resumed.
    """

    def __init__(self, model: MaskDino, *, losses: LossConfig, settings: FitSettings, folder: Path) -> None:
        self.model, self.settings, self.folder = model, settings, folder
        self.losses = losses
        self.criterion = Criterion(num_classes=model.config.num_classes, config=losses)
        self.guide = DenseGuide(model.config.pixel_decoder.mask_dim, weight=settings.guide).to(model.pixel_mean.device)
        self._pixels: Tensor | None = None
        trained = nn.ModuleList([model, self.guide])
        self.optimizer = torch.optim.AdamW(_parameter_groups(trained, settings.weight_decay), lr=settings.learning_rate)
        self.averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average), use_buffers=True)
        model.pixel_decoder.register_forward_hook(self._keep_pixels)  # after the copy above, which shall have none
        self.step, self.trained = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self._checkpoint.exists():
            self._resume()

    @property
    def progress(self) -> float:
        """How much of the training is done, 0..1."""
        return min(self.trained / self.settings.seconds, 1.0)

    def run(self, batches: Iterable[tuple[Tensor, list[Target]]], *, validate: Callable[[MaskDino], dict[str, float]]) -> None:
        """Train until the time is over.

        Args:
            batches: images (B, 3, H, W) in 0..255 with their targets, without end.
            validate: measures the averaged model; its figures are logged.
        """
        next_checkpoint = self.trained + self.settings.checkpoint_every
        next_validation = self.trained + self.settings.validate_every
        started = time.perf_counter()
        for images, targets in batches:
            values = self._train(images, targets)
            self.trained += time.perf_counter() - started
            if self.step % 20 == 0:
                self._record({"loss": values["total"], "rate": self._rate(), **values})
            done = self.trained >= self.settings.seconds
            if done or self.trained >= next_checkpoint:
                self._save()
                next_checkpoint = self.trained + self.settings.checkpoint_every
            if done or self.trained >= next_validation:
                figures = validate(self.averaged.module)
                log.info("step %d, %.0f s: %s", self.step, self.trained, figures)
                next_validation = self.trained + self.settings.validate_every
            if done:
                return
            started = time.perf_counter()

    def _train(self, images: Tensor, targets: list[Target]) -> dict[str, float]:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        noise = self.losses.denoising
        denoising = make_denoising_queries(
            targets,
            num_queries=self.model.config.decoder.queries,
            num_classes=self.model.config.num_classes,
            number=noise.number,
            noise_scale=noise.noise_scale,
        )
        losses = self.criterion(self.model(images, denoising=denoising), targets, denoising)
        guide = self.guide(self._pixels, targets)
        total = self.criterion.total(losses) + guide
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip, error_if_nonfinite=True)
        self.optimizer.step()
        self.averaged.update_parameters(self.model)
        self.step += 1
        last = {name: loss.item() for name, loss in losses.items() if name.count("_") == 1}
        return {"total": total.item(), "gradient": norm.item(), "guide": guide.item(), **last}

    def _keep_pixels(self, module: nn.Module, inputs: tuple, output: tuple[Tensor, list[Tensor]]) -> None:
        self._pixels = output[0] if module.training else None

    def _rate(self) -> float:
        settings = self.settings
        warm = min(1.0, (self.step + 1) / settings.warm_up)
        late = max(0.0, self.progress - settings.decay_from) / (1 - settings.decay_from)
        return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * late))

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "guide": self.guide.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "trained": self.trained,
        }
        partial = self._checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True, map_location=self.model.pixel_mean.device)
        self.model.load_state_dict(state["model"])
        self.guide.load_state_dict(state["guide"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.trained = state["step"], state["trained"]
        log.info("resumed at step %d after %.0f s of training", self.step, self.trained)

    def _record(self, values: dict[str, float]) -> None:
        path = self.folder / "losses.csv"
        row = {"step": self.step, "seconds": round(self.trained, 1), **{k: round(v, 5) for k, v in values.items()}}
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Decay weights, but neither norms nor embeddings nor biases."""
    exempt = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.Embedding)
    kept, decayed = [], []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            still = isinstance(module, exempt) or name.endswith("bias") or parameter.ndim < 2
            (kept if still else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
