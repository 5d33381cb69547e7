"""A step of a small model on a GPU takes as long as starting its operations, so images must not be worked on one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from engine.model.outputs import Outputs
from tests.training.losses.tiny_batch import CLASSES, MAP, GridPoints, random_outputs, random_target
from training.losses import Criterion, DenseAuxiliaryLoss, LossConfig, Target, make_denoising_queries

WAITS = {
    "_local_scalar_dense",
    "nonzero",
}  # item() and its kin, and indices that depend on values: the program waits for the device

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


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


def auxiliary_loss(targets: list[Target]) -> Tensor:
    return DenseAuxiliaryLoss(4, weight=1.0)(torch.zeros(len(targets), 4, MAP, MAP), targets)


@pytest.mark.parametrize("ignoring", [False, True])
@pytest.mark.parametrize("run", [denoise, losses, auxiliary_loss])
def test_a_larger_batch_takes_no_more_operations_and_none_waits(run: Callable, ignoring: bool) -> None:
    small, large = (operations(run, targets_of(images, ignoring=ignoring)) for images in (2, 7))
    assert small == large
    assert not WAITS & large.keys()


def on_gpu(outputs: Outputs) -> Outputs:
    """The same outputs on the first GPU."""
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.cuda(), outputs)


@needs_gpu
def test_a_gpu_is_waited_for_only_to_match() -> None:
    targets = [target.to("cuda") for target in targets_of(3, ignoring=True)]
    criterion, dense = (
        Criterion(num_classes=CLASSES, config=LossConfig(points=40)).cuda(),
        DenseAuxiliaryLoss(4, weight=1.0).cuda(),
    )
    outputs = on_gpu(random_outputs(0, images=3, denoising=denoise(targets_of(3, ignoring=True))))
    pixels = torch.zeros(3, 4, MAP, MAP, device="cuda")
    waiting = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")  # the copy of the costs is waited for by an event, which this does not see
    try:
        criterion.total(criterion(outputs, targets, denoise(targets)))
        dense(pixels, targets)
    finally:
        torch.cuda.set_sync_debug_mode(waiting)


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_the_losses_that_a_cpu_gives(dtype: torch.dtype) -> None:
    """Also in a training step under autocast: half-precision outputs are widened before anything is computed."""
    targets = targets_of(3, ignoring=True)
    criterion = Criterion(num_classes=CLASSES, config=LossConfig(points=40), random=GridPoints())

    def losses_on(device: str) -> dict[str, Tensor]:
        moved = [target.to(device) for target in targets]
        denoising = make_denoising_queries(moved, num_queries=6, num_classes=CLASSES, number=6, random=GridPoints())
        outputs = random_outputs(0, images=3, dtype=dtype, denoising=denoising)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            return criterion(outputs if device == "cpu" else on_gpu(outputs), moved, denoising)

    expected = losses_on("cpu")
    for name, loss in losses_on("cuda").items():
        torch.testing.assert_close(loss.cpu(), expected[name], rtol=1e-4, atol=1e-5)
