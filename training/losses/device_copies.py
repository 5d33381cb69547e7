"""Copies between host and device for which the program waits only where it must: a wait drains the queue of a GPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(indices: np.ndarray, device: torch.device) -> Tensor:
    """Copy indices to a device as int64, without waiting for it."""
    tensor = torch.from_numpy(indices.astype(np.int64, copy=False))
    if device.type == "cuda":
        # From ordinary memory the program would wait until all work before the copy is done.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")


def to_host(tensor: Tensor) -> np.ndarray:
    """Copy from a device, and wait for it."""
    copy = tensor.to("cpu", non_blocking=tensor.is_cuda)  # into pinned memory where the source is on a GPU
    if tensor.is_cuda:
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(tensor.device))
        copied.synchronize()
    return copy.numpy()
