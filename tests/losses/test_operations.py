"""A step of a small model on a GPU takes as long as starting its operations, so images must not be worked on one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from losses.tiny_batch import CLASSES, MAP, random_outputs, random_target
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from training.losses import Criterion, DenseGuide, LossConfig, Target, make_denoising_queries

WAITS = {
    "_local_scalar_dense",
    "nonzero",
}  # item() and its kin, and indices that depend on values: the program waits for the device


class Operations(TorchDispatchMode):
    """Count the operations that are dispatched, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def operations(run: Callable[[list[Target]], object], targets: list[Target]) -> Counter[str]:
    with Operations() as operations:
        run(targets)
    return operations.count


def targets_of(images: int, *, ignoring: bool) -> list[Target]:
    targets = [random_target(seed, 2 + seed % 2) for seed in range(images)]
    if not ignoring:
        return targets
    ground = torch.rand(4 * MAP, 4 * MAP, generator=torch.Generator().manual_seed(0)) > 0.5
    return [replace(target, ignored=ground, merged=ground) for target in targets]


def denoise(targets: list[Target]) -> object:
    return make_denoising_queries(targets, num_queries=6, num_classes=CLASSES, number=6)


def losses(targets: list[Target]) -> dict[str, Tensor]:
    denoising = denoise(targets)
    outputs = random_outputs(0, images=len(targets), denoising=denoising)
    return Criterion(num_classes=CLASSES, config=LossConfig(points=40))(outputs, targets, denoising)


def guide(targets: list[Target]) -> Tensor:
    return DenseGuide(4, weight=1.0)(torch.zeros(len(targets), 4, MAP, MAP), targets)


@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("run", [denoise, losses, guide])
def test_a_larger_batch_takes_no_more_operations_and_none_waits(run: Callable, ignoring: bool) -> None:
    small, large = (operations(run, targets_of(images, ignoring=ignoring)) for images in (2, 7))
    assert small == large
    assert not WAITS & large.keys()
