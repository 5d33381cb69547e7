"""Choose the device that a model runs on, and how it treats the machine. Torch is imported on use only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import ArgumentError, DeviceError


def share_the_cores() -> None:
    """Let torch's threads sleep, not spin, while they wait for one another; it has to be said before torch is imported.

    A desktop is rarely idle. With other programs busy on two cores, spinning threads made a tile take 9.6 s in place of 0.5 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let torch compute with one thread meanwhile: how many share a sum decides how it is rounded."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(wanted: str = "auto") -> str:
    """Turn what a person asked for into a device that is there.

    Args:
        wanted: ``auto`` (a CUDA device, then Apple's, then the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        ArgumentError: no such kind of device.
        DeviceError: the device is not there.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if wanted == "cpu":
        return wanted
    if wanted == "mps":
        if not mps:
            raise DeviceError("device is 'mps', but torch finds no Apple GPU here.", hint="Use --device auto.")
        return wanted
    match = re.fullmatch(r"cuda(?::(\d+))?", wanted)
    if match is None:
        raise ArgumentError(f"device is {wanted!r}.", hint="It should be auto, cpu, cuda, cuda:N or mps.")
    count = torch.cuda.device_count() if cuda else 0
    if int(match[1] or 0) >= count:
        found = f"torch finds {count} CUDA device{'' if count == 1 else 's'} here"
        raise DeviceError(f"device is {wanted!r}, but {found}.", hint="Use --device auto; `maskdino doctor` says why.")
    return wanted
