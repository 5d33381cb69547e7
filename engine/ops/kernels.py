"""Which kernel runs the attention operator on which device, and why.

The environment variable MASKDINO_KERNEL=plain forces the plain PyTorch kernel everywhere, for tests and for finding faults.
"""

from __future__ import annotations

import os
from types import ModuleType

import torch

from engine.errors import ArgumentError
from engine.ops import cpu, plain


def kernel_for(*tensors: torch.Tensor) -> ModuleType:
    """Return the best kernel for tensors on one device: a module with `forward` and `backward`."""
    first = tensors[0]
    if first.device.type != "cpu" or _plain_is_forced() or cpu.why_missing():
        return plain
    one_dtype = all(tensor.dtype == first.dtype for tensor in tensors)
    return cpu if one_dtype and first.dtype in cpu.DTYPES else plain


def kernel_name(device: torch.device | str) -> str:
    """Name the kernel that runs on a device: "C++ (AVX2)", "plain PyTorch"."""
    return _choice(torch.device(device).type)[0]


def kernel_report() -> dict[str, dict[str, str]]:
    """Say for each type of device here which kernel runs, and why: {"cpu": {"kernel": ..., "why": ...}, ...}."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {device: dict(zip(("kernel", "why"), _choice(device), strict=True)) for device in devices}


def _choice(device: str) -> tuple[str, str]:
    if _plain_is_forced():
        return "plain PyTorch", "MASKDINO_KERNEL=plain asks for it."
    if device != "cpu":
        return "plain PyTorch", f"There is no other kernel for {device} yet."
    missing = cpu.why_missing()
    if missing:
        return "plain PyTorch", missing
    return f"C++ ({cpu.instruction_set()})", f"{cpu.LIBRARY.name} is built and loads; it takes float32, float64 and bfloat16."


def _plain_is_forced() -> bool:
    asked = os.environ.get("MASKDINO_KERNEL", "auto")
    if asked not in ("auto", "plain"):
        raise ArgumentError(f"MASKDINO_KERNEL is {asked!r}.", hint="It can be auto or plain.")
    return asked == "plain"
