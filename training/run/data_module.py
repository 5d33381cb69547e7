"""Which images each worker takes at each step: it follows from the step alone, so that any run can stop and go on.

Sample ``i`` of a data set is drawn from the seed and ``i`` (see ``training.data.training_data``). Step ``s`` of a run with a
batch of ``b`` takes samples ``s * b`` to ``(s + 1) * b - 1``, shared out evenly over accumulated parts and processes: one
process and many see the same batches.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.context import BaseContext

import lightning.pytorch as lightning
from torch.utils.data import DataLoader, Dataset, Sampler

from engine.errors import ConfigError
from training.config.schema import RunConfig
from training.data.batch import collate
from training.data.sample import Sample
from training.data.training_data import TrainingData

_IMAGES_PER_WORKER = 500  # of validation
_VALIDATED_AT_ONCE = 8  # images


class StepSampler(Sampler[list[int]]):
    """Yield the numbers of this process's samples, a part of a step at a time.

    Its length is that of the whole run, also where it begins in the middle: this is how Lightning counts after a resume.

    Args:
        batch: samples of a step, over all processes and parts.
        parts: accumulated parts of a step.
        rank, world: this process, and how many there are.
        first, steps: the step to begin with, and those of the whole run.
    """

    def __init__(self, *, batch: int, parts: int, rank: int, world: int, first: int, steps: int) -> None:
        self.batch, self.parts, self.rank, self.world = batch, parts, rank, world
        self.first, self.steps = first, steps

    def __len__(self) -> int:
        return self.steps * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch // (self.parts * self.world)
        for step in range(self.first, self.steps):
            for part in range(self.parts):
                start = step * self.batch + (part * self.world + self.rank) * share
                yield list(range(start, start + share))


class Batches(lightning.LightningDataModule):
    """Hand the samples of a run to Lightning.

    Args:
        data: what to train and validate on.
        run: batch, accumulation, workers.
        steps: of the whole run, or more than it can make.
    """

    def __init__(self, data: TrainingData, run: RunConfig, *, steps: int) -> None:
        super().__init__()
        self.data, self.run, self.steps = data, run, steps

    def train_dataloader(self) -> DataLoader:
        """Return what is left of the run from the step that the trainer stands at."""
        sampler = StepSampler(
            batch=self.run.batch,
            parts=self.run.accumulate,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            first=self.trainer.global_step,
            steps=self.steps,
        )
        return self._loader(self.data.train, workers=self.run.workers, batch_sampler=sampler, collate_fn=collate)

    def val_dataloader(self) -> DataLoader:
        """Return this process's share of the validation images, a few at a time."""
        rank, world = self.trainer.global_rank, self.trainer.world_size
        share = Share(self.data.validation, range(rank, len(self.data.validation), world))
        # To start processes for a few images takes longer than to read them.
        workers = min(self.run.workers, len(share) // _IMAGES_PER_WORKER)
        return self._loader(share, workers=workers, batch_size=_VALIDATED_AT_ONCE, collate_fn=list)

    def _loader(self, dataset: Dataset, *, workers: int, **how: object) -> DataLoader:
        return DataLoader(
            dataset,
            num_workers=workers,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            multiprocessing_context=_context() if workers else None,
            persistent_workers=workers > 0,
            **how,
        )


def _context() -> BaseContext:
    """Return how workers are started.

    A worker that is forked off this process inherits the locks of torch's threads and can wait for them for ever. One that is
    spawned imports torch anew. A server that has imported it all, and has no threads, forks them in a second; Windows has none.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.data.training_data"])
    return context


class Share(Dataset):
    """Some of the images of a sequence, each with its number in it."""

    def __init__(self, samples: Sequence[Sample], numbers: Sequence[int]) -> None:
        self.samples, self.numbers = samples, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[int, Sample]:
        return self.numbers[index], self.samples[self.numbers[index]]


def check_batch(run: RunConfig, *, world: int) -> None:
    """Refuse a batch that processes and accumulated parts cannot share evenly.

    Raises:
        ConfigError: it says which sizes can.
    """
    parts = run.accumulate * world
    if run.batch % parts:
        lower = max(run.batch // parts, 1) * parts
        raise ConfigError(
            f"run.batch is {run.batch}, which {world} processes with {run.accumulate} accumulated parts cannot share evenly.",
            hint=f"Give a multiple of {parts}, such as {lower} or {lower + parts}.",
        )
