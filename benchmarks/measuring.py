"""Measure ways of doing the same thing side by side: turns within rounds, medians, ratios of the rounds' own, memory peaks.

What is printed can be noted as JSON too: `note`.
"""

from __future__ import annotations

import ctypes
import json
import math
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


def print_table(seconds: dict[str, list[float]], peaks: dict[str, float | None], *, images: int, **about: Any) -> None:
    """Print a row per way, the first being the one that the others are compared with.

    Args:
        seconds: of each round of each way.
        peaks: megabytes of each way, as `peaks_that_fit` returns them.
        images: of one call.
        about: noted with each row.
    """
    if not seconds:
        return
    first = next(iter(seconds.values()))
    print(f"{'':<32}{'seconds':>24}{'images/s':>10}{'times as fast':>16}{'memory beside the weights':>28}")
    for name, measured in seconds.items():
        rate = statistics.median(images / each for each in measured)
        ratio = times_as_fast(measured, first)
        print(f"{name:<32}{spread(measured):>24}{rate:>10.2f}{ratio:>15.2f}x{megabytes(peaks[name]):>28}")
        note(**about, way=name, seconds=statistics.median(measured), images_per_second=rate, megabytes=peaks[name])
    if not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")


def note(**figures: Any) -> None:
    """Append figures as one line of JSON to the file that MASKDINO_FIGURES names, if it names one."""
    path = os.environ.get("MASKDINO_FIGURES")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")


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


def peaks_that_fit(ways: dict[str, Way], device: str = "cpu") -> dict[str, float | None]:
    """Return the peak of each way; those that do not fit into the GPU's memory are named and left out."""
    peaks = {}
    for name, way in ways.items():
        try:
            peaks[name] = peak_megabytes(way, device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            print(f"{name}: out of memory")
            note(way=name, failed="out of memory")
    return peaks


class Recorded:
    """A step as a device repeats it fastest: from a CUDA graph; on a CPU by calling it.

    A graph reads tensors by their addresses and holds none of them. `torch.cuda.graph` empties the allocator's cache before it
    captures the next one, which unmaps memory that nobody holds any more: so the step is held, and with it what it refers to.

    Args:
        step: sends nothing to the GPU and waits for nothing.
        device: where it computes.
        least: seconds that a graph should last; a short step is recorded several times, as events are not exact enough.
    """

    def __init__(self, step: Callable[[], Any], device: str, *, least: float = 0.02) -> None:
        self._step = step
        self._repeats = 1
        self._graph: torch.cuda.CUDAGraph | None = None
        if not device.startswith("cuda"):
            step()
            return
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # compiles and loads kernels, makes constants: a capture may not
                step()
        torch.cuda.current_stream().wait_stream(side)
        self._repeats = max(1, min(20, math.ceil(least / _seconds_between_events(step))))
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            for _ in range(self._repeats):
                step()
        self._graph.replay()

    def seconds(self) -> float:
        """Run it and return how long one step took."""
        if self._graph is not None:
            return _seconds_between_events(self._graph.replay) / self._repeats
        start = time.perf_counter()
        self._step()
        return time.perf_counter() - start


def megabytes(peak: float | None) -> str:
    """Say how large a peak is."""
    return "not measured" if peak is None else f"{peak:.0f} MB"


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _seconds_between_events(work: Callable[[], Any]) -> float:
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1000
