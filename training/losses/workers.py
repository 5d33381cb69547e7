"""Numbers that all workers of a distributed training have to agree on, for its losses to be those of a single process."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def average_over_workers(count: int, device: torch.device) -> Tensor:
    """Average the number of targets over the workers, at least 1: () float32."""
    average = torch.full((), float(count), device=device)  # filled there: a copy from here would wait for the device
    if _several():
        distributed.all_reduce(average)
        average /= distributed.get_world_size()
    return average.clamp(min=1)


def most_over_workers(count: int, device: torch.device) -> int:
    """Return the largest of the workers' counts."""
    if not _several():
        return count
    most = torch.full((), count, device=device)
    distributed.all_reduce(most, distributed.ReduceOp.MAX)
    return int(most)


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
