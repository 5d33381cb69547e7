"""Copies between host and device for which the program waits only where it must: a wait drains the queue of a GPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.model.host_transfer import finish_copies, start_copy


def to_device(indices: np.ndarray, device: torch.device) -> Tensor:
    """Copy indices to a device as int64, without waiting for it."""
    tensor = torch.from_numpy(indices.astype(np.int64, copy=False))
    if device.type == "cuda":
        # From ordinary memory the program would wait until all work before the copy is done.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")


def to_host(tensor: Tensor) -> np.ndarray:
    """Copy from a device, and wait for it."""
    copy = start_copy(tensor)
    finish_copies(tensor.device)
    return copy.numpy()
