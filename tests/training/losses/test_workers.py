"""Several processes that train together divide by the targets of all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from tests.training.losses.tiny_batch import CLASSES, GridPoints, random_outputs, random_target
from training.losses import Criterion, LossConfig

WORKERS = 2
COUNTS = (4, 1)


def losses_of(images: list[int]) -> dict[str, float]:
    criterion = Criterion(num_classes=CLASSES, config=LossConfig(points=40), random=GridPoints())
    outputs = random_outputs(0, images=len(COUNTS))
    which = torch.tensor(images)
    for layer in (outputs, *outputs.auxiliary, outputs.encoder):
        for name in ("class_logits", "boxes", "mask_logits"):
            setattr(layer, name, getattr(layer, name)[which])
    losses = criterion(outputs, [random_target(i, COUNTS[i]) for i in images])
    return {name: loss.item() for name, loss in losses.items()}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=WORKERS)
    torch.save(losses_of([rank]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_the_mean_over_workers_is_the_loss_of_one_large_batch(tmp_path: Path) -> None:
    """Distributed training averages gradients; with uneven numbers of targets that must still be the batch's gradient."""
    multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=WORKERS)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(WORKERS)]
    together = losses_of([0, 1])
    for name, loss in together.items():
        mean = sum(part[name] for part in parts) / WORKERS
        # One process divides by the sum of targets, two by half of it each.
        assert mean == pytest.approx(loss, rel=1e-5), name
