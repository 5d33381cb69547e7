"""A training run as Lightning sees it: a step, a validation, and what a checkpoint carries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor, nn

from engine.model.postprocess import ImageInstances
from training.callbacks.run_length import RunLength
from training.config.schema import TrainConfig
from training.data.batch import Batch
from training.data.sample import Sample
from training.errors import DivergedError
from training.evaluation.coco.mask_scores import LOWEST, MaskAccumulator, MaskScores
from training.run.optimization import make_optimizer, rate_factor

_TRIED = 16  # images that tell how long a validation takes
_PIXELS = 8 * 320 * 320  # of images that are looked at together: the masks of all of them are held at once


class TrainingModule(lightning.LightningModule):
    """Train a model for an objective.

    Args:
        objective: a module with the attribute ``model``; it takes (images, targets) and returns weighted losses by name.
        config: of the run.
        length: of the run.
        places: numbers of the validation images of each place, by name.

    Attributes:
        scores: of the last validation; None before the first.
        accumulator: what that found, and what is there.
        place_scores: the same of each place, by name, where there are several.
        validated: the step of the last validation, -1 before the first.
        first_found: detections of the last validation in the first images, for pictures: number of the image -> sample and
            instances.
    """

    def __init__(
        self, objective: nn.Module, config: TrainConfig, *, length: RunLength, places: Mapping[str, range] | None = None
    ) -> None:
        super().__init__()
        self.objective, self.config, self.length = objective, config, length
        self.places = dict(places or {})
        self.scores: MaskScores | None = None
        self.place_scores: dict[str, MaskScores] = {}
        self.validated = -1
        self.first_found: dict[int, tuple[Sample, Any]] = {}
        self.accumulator = self._accumulator = MaskAccumulator()

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""
        return self.objective.model

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # The numbers drawn in a step follow from the step, so that a resumed run draws those that it would have drawn.
        place = (
            self.global_step * self.config.run.accumulate + batch_idx % self.config.run.accumulate
        ) * self.trainer.world_size
        torch.manual_seed(self.config.run.seed * 1_000_003 + place + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.objective(batch.images, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            bad = sorted(name for name, loss in losses.items() if not torch.isfinite(loss))
            raise DivergedError(
                f"At step {self.global_step} the losses {', '.join(bad)} are not finite numbers.",
                hint="Lower optimizer.learning_rate, or train with run.precision=float32. The last checkpoint is sound.",
            )
        values = {"train/total": total.detach()}
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # each costs a GPU some launches
            values |= {f"train/{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(values, sync_dist=self.trainer.world_size > 1, batch_size=len(batch.images))
        return total

    def validation_step(self, batch: Sequence[tuple[int, Sample]], batch_idx: int) -> None:
        for numbered in _of_one_size(batch):
            found = self._find([sample for _, sample in numbered])
            for (number, sample), instances in zip(numbered, found, strict=True):
                self._accumulator.add(number, sample, instances)
                if number < self.config.run.pictures:
                    self.first_found[number] = (sample, instances)

    def estimate_validation(self) -> float:
        """Return how many seconds a validation takes, judged by a few images; 0 where there are none."""
        samples, modes = self.trainer.datamodule.data.validation, [(module, module.training) for module in self.modules()]
        if not len(samples):
            return 0.0
        numbers = np.linspace(0, len(samples) - 1, min(_TRIED, len(samples))).astype(int).tolist()
        self.eval()
        self._find([samples[numbers[0]]])  # what is done once does not count
        began, accumulator = time.monotonic(), MaskAccumulator()
        for numbered in _of_one_size([(number, samples[number]) for number in numbers]):
            found = self._find([sample for _, sample in numbered])
            for (number, sample), instances in zip(numbered, found, strict=True):
                accumulator.add(number, sample, instances)
        accumulator.scores()
        for module, mode in modes:
            module.training = mode
        return (time.monotonic() - began) * len(samples) / (len(numbers) * self.trainer.world_size)

    def _find(self, samples: Sequence[Sample]) -> list[ImageInstances]:
        """Find the instances of images of one size at once."""
        images = torch.from_numpy(np.stack([sample.image for sample in samples]))
        return self.model.instances(images.to(self.device).permute(0, 3, 1, 2).float(), threshold=LOWEST)

    def on_validation_epoch_end(self) -> None:
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, self._accumulator)
            self._accumulator = MaskAccumulator.merged(parts)
        self.accumulator, self._accumulator = self._accumulator, MaskAccumulator()
        scores, by_place = self.accumulator.scores_by_place(self.places if len(self.places) > 1 else {})
        self.scores, self.place_scores, self.validated = scores, by_place, self.global_step
        figures = {
            "AP": scores.ap,
            "AP50": scores.ap50,
            "F1": scores.f1,
            "precision": scores.precision,
            "recall": scores.recall,
        } | {f"AP50 {name}": scores_there.ap50 for name, scores_there in by_place.items()}
        self.log_dict({f"val/{name}": value for name, value in figures.items()})

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = make_optimizer(self.objective, self.config.optimizer)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(step, share=self.length.share(step), config=self.config.schedule)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config.model_dump(mode="json")


def _of_one_size(numbered: Sequence[tuple[int, Sample]]) -> Iterator[list[tuple[int, Sample]]]:
    """Divide images into lists of one size, of so many as may be looked at together."""
    by_size: dict[tuple[int, int], list[tuple[int, Sample]]] = {}
    for number, sample in numbered:
        by_size.setdefault(sample.image.shape[:2], []).append((number, sample))
    for (height, width), alike in by_size.items():
        most = max(1, _PIXELS // (height * width))
        for start in range(0, len(alike), most):
            yield alike[start : start + most]
