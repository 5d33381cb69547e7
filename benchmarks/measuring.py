"""Measure ways of doing the same thing side by side: turns within rounds, medians, ratios of the rounds' own, memory peaks."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.ops import kernel_report

Way = Callable[[], Any]


def machine(device: str = "cpu") -> str:
    """Name what is measured on, and what is counted there."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, wall time; torch {torch.__version__}"
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""  # above the cores: not a quiet machine
    counted = "processor time" if torch.get_num_threads() == 1 else "wall time"
    return f"{processor}, {os.cpu_count()} cores{load}; {torch.get_num_threads()} threads, {counted}; torch {torch.__version__}"


def take_turns(ways: dict[str, Way], *, rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Return the seconds of each way in each round. With one thread on a CPU other programs do not count."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            _wait_for(device)
            start = clock()
            way()
            _wait_for(device)
            seconds[name].append(clock() - start)
    return seconds


def print_table(seconds: dict[str, list[float]], peaks: dict[str, float | None], *, images: int) -> None:
    """Print a row a way, the first being the one that the others are compared with; ``images`` are those of one call."""
    first = next(iter(seconds.values()))
    print(f"{'':<32}{'seconds':>24}{'images/s':>10}{'times as fast':>16}{'memory beside the weights':>28}")
    for name, measured in seconds.items():
        rate = statistics.median(images / each for each in measured)
        ratio = times_as_fast(measured, first)
        print(f"{name:<32}{spread(measured):>24}{rate:>10.2f}{ratio:>15.2f}x{megabytes(peaks[name]):>28}")
    if not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")


def kernel_on(device: str) -> str:
    """Name the kernel of the attention operator that runs on a device."""
    kernels = kernel_report()
    return kernels.get(device, kernels.get(f"{device}:0"))["kernel"]


def spread(values: list[float], digits: int = 2) -> str:
    """Say what the median is, and between which quartiles it lies."""
    lower, median, upper = statistics.quantiles(values, n=4)
    return f"{median:.{digits}f} ({lower:.{digits}f}-{upper:.{digits}f})"


def times_as_fast(values: list[float], reference: list[float]) -> float:
    """Return the median of the rounds' own ratios."""
    return statistics.median(there / here for there, here in zip(reference, values, strict=True))


def peak_megabytes(way: Way, device: str = "cpu") -> float | None:
    """Return what a call needs at most beyond what is there before it; None where nothing tells.

    On a CPU only Linux with glibc lets a program set its high-water mark back.
    """
    if device.startswith("cuda"):
        way()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        way()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if not Path("/proc/self/clear_refs").exists() or platform.libc_ver()[0] != "glibc":
        return None
    way()  # constants are made, weights are in memory
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls gave back would not count
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    way()
    return (_status("VmHWM") - before) / 1024


def megabytes(peak: float | None) -> str:
    """Say how large a peak is."""
    return "not measured" if peak is None else f"{peak:.0f} MB"


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
