"""Copies between a device and the host's memory: masks as bits, pinned memory, and no wait but one for all that was copied."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pack_bits(masks: Tensor) -> Tensor:
    """Pack masks (..., W) bool, W a multiple of 8, on their device: (..., W / 8) uint8, the first pixel in the highest bit."""
    places = 1 << torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    return (masks.unflatten(-1, (masks.shape[-1] // 8, 8)) * places).sum(-1, dtype=torch.uint8)


def unpack_bits(bits: Tensor, width: int) -> Tensor:
    """Unpack what `pack_bits` packed, in the host's memory: the first ``width`` pixels of each row (..., width) bool."""
    return torch.from_numpy(np.unpackbits(bits.numpy(), axis=-1, count=width).view(bool))


def start_copy(tensor: Tensor) -> Tensor:
    """Return a copy in the host's memory, to be read after `finish_copies`; what is there already is returned itself."""
    # Where it need not be waited for, torch pins the memory of a copy from CUDA. On other devices it would not be safe.
    return tensor.to("cpu", non_blocking=tensor.is_cuda)


def finish_copies(device: torch.device) -> None:
    """Wait for the copies from a device that were started, but not for work that other threads have given it since."""
    if device.type == "cuda":
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(device))
        copied.synchronize()


def to_host(tensor: Tensor) -> np.ndarray:
    """Copy from a device, and wait for it."""
    copy = start_copy(tensor)
    finish_copies(tensor.device)
    return copy.numpy()


def indices_to_device(indices: np.ndarray, device: torch.device) -> Tensor:
    """Copy indices to a device as int64, without waiting for it."""
    tensor = torch.from_numpy(indices.astype(np.int64, copy=False))
    if device.type == "cuda":
        # From ordinary memory the program would wait until all work before the copy is done.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")
