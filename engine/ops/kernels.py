"""Which kernel runs the attention operator on which device, and why.

The environment variable MASKDINO_KERNEL=plain forces the plain PyTorch kernel everywhere, for tests and for finding faults.
"""

from __future__ import annotations

import os
from types import ModuleType

import torch

from engine.errors import ArgumentError
from engine.ops import cpu, cuda, plain


def kernel_for(value: torch.Tensor, locations: torch.Tensor, weights: torch.Tensor) -> ModuleType:
    """Return the best kernel for tensors on one device: a module with `takes`, `forward` and `backward`."""
    device = value.device
    if _plain_is_forced():
        return plain
    if device.type == "cuda" and cuda.why_missing(device.index) is None and cuda.takes(value, locations, weights):
        return cuda
    if device.type == "cpu" and cpu.why_missing() is None and cpu.takes(value, locations, weights):
        return cpu
    return plain


def kernel_name(device: torch.device | str) -> str:
    """Name the kernel that runs on a device: "CUDA (sm_90)", "C++ (AVX2)", "plain PyTorch"."""
    return _choice(torch.device(device))[0]


def kernel_report() -> dict[str, dict[str, str]]:
    """Say for each device here which kernel runs, and why: {"cpu": {"kernel": ..., "why": ...}, "cuda:0": ...}."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {device: dict(zip(("kernel", "why"), _choice(torch.device(device)), strict=True)) for device in devices}


def _choice(device: torch.device) -> tuple[str, str]:
    if _plain_is_forced():
        return "plain PyTorch", "MASKDINO_KERNEL=plain asks for it."
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return ("plain PyTorch", missing) if (missing := cuda.why_missing(index)) else cuda.description(index)
    if device.type == "cpu":
        return ("plain PyTorch", missing) if (missing := cpu.why_missing()) else cpu.description()
    return "plain PyTorch", f"There is no other kernel for {device.type}."


def _plain_is_forced() -> bool:
    asked = os.environ.get("MASKDINO_KERNEL", "auto")
    if asked not in ("auto", "plain"):
        raise ArgumentError(f"MASKDINO_KERNEL is {asked!r}.", hint="It can be auto or plain.")
    return asked == "plain"
