"""Benchmarks replay CUDA graphs: what a graph reads must be there when it is replayed."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.measuring import Recorded
from tests.gpu.device import DEVICE, streams

COUNT = 2**24  # 64 MiB: memory of its own, which the allocator can give back to the driver


def recorded_sum() -> tuple[Recorded, Tensor]:
    """Record a step that adds COUNT to a total; nothing but the step refers to what it reads."""
    ones, total = torch.ones(COUNT, device=DEVICE), torch.zeros((), device=DEVICE, dtype=torch.float64)
    return Recorded(lambda: total.add_(ones.sum()), DEVICE), total


def test_another_recording_takes_no_memory_away() -> None:
    first, total = recorded_sum()
    second, _ = recorded_sum()  # its capture empties the allocator's cache
    for recorded in (first, second):
        assert recorded.seconds() > 0
    before = total.item()
    first.seconds()
    streams.synchronize()
    assert total.item() > before
    assert (total.item() - before) % COUNT == 0
