"""Which kernels a GPU spends its time in, and how much of the time it waits: inference and a training step.

    python benchmarks/kernels_gpu.py [--model NAME] [--batch N] [--size N] [--device DEVICE]

The ten heaviest of each. On a CPU, where there are no kernels to see, they are torch's operators.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import typer
from measuring import machine, note
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training_step import annotations, training_step
from untrained import smooth_images, untrained_model

from engine.model.inference import InferenceModel

_TARGETS = 9  # of an image


@dataclass
class Profile:
    """What a profiler saw of some work.

    Attributes:
        seconds: that the work took.
        busy: seconds in which at least one kernel ran; None on a CPU.
        kernels: name, seconds and calls, the heaviest first.
    """

    seconds: float
    busy: float | None
    kernels: list[tuple[str, float, int]]

    @property
    def waited(self) -> float | None:
        """The share of the time in which the GPU had nothing to do."""
        return None if self.busy is None else 1 - self.busy / self.seconds


def profiled(work: Callable[[], Any], device: str) -> Profile:
    """Run some work under torch's profiler, which slows it down a little."""
    on_gpu = device.startswith("cuda")
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU], acc_events=True) as seen:
        start = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    totals: dict[str, tuple[float, int]] = {}
    intervals = []
    for event in seen.events():
        if (event.device_type == DeviceType.CUDA) != on_gpu:
            continue
        spent, calls = totals.get(event.name, (0.0, 0))
        totals[event.name] = (spent + (event.time_range.elapsed_us() if on_gpu else event.self_cpu_time_total) / 1e6, calls + 1)
        intervals.append((event.time_range.start / 1e6, event.time_range.end / 1e6))
    kernels = sorted(((name, *total) for name, total in totals.items()), key=lambda kernel: -kernel[1])
    return Profile(seconds, union_of(intervals) if on_gpu else None, kernels)


def union_of(intervals: list[tuple[float, float]]) -> float:
    """Return how long at least one of some intervals (start, end) lasts."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def main(
    model: str = "maskdino_swinl", batch: int = 32, size: int = 320, device: str = "cuda", passes: int = 3, threads: int = 2
) -> None:
    """Print the tables."""
    if device == "cuda" and not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")
        return
    torch.set_num_threads(threads)
    print(f"{model}, {batch} x {size} x {size}; {machine(device)}")
    images = smooth_images(batch, size, device)
    _inference(model, images, passes)
    annotated = [annotations(size, _TARGETS, seed, device) for seed in range(batch)]
    step = training_step(model, images, annotated, autocast=True)
    _print("training step", step, device, passes, model=model, batch=batch, precision="bfloat16")


def _inference(model: str, images: Tensor, passes: int) -> None:
    """In a function, so that the model leaves the GPU before another is trained there."""
    device = str(images.device)
    made = InferenceModel(untrained_model(model, device))
    about = {"model": model, "batch": len(images), "precision": made.precision}
    _print("inference", lambda: made.instances(images), device, passes, **about)


def _print(title: str, work: Callable[[], Any], device: str, passes: int, **about: Any) -> None:
    for _ in range(2):
        work()
    seen = profiled(lambda: [work() for _ in range(passes)], device)
    waiting = "" if seen.waited is None else f", {seen.waited:.0%} of which the GPU waited"
    print(f"{title}, {about['precision']}: {1000 * seen.seconds / passes:.1f} ms{waiting}")
    total = sum(seconds for _, seconds, _ in seen.kernels)
    for name, seconds, calls in seen.kernels[:10]:
        print(f"  {seconds / total:>6.1%}{1000 * seconds / passes:>10.3f} ms{calls / passes:>8.0f} calls  {name[:100]}")
    print(flush=True, end="")
    note(
        **about, what=title, milliseconds=1000 * seen.seconds / passes, waited=seen.waited,
        kernels=[
            {"name": name, "milliseconds": 1000 * seconds / passes, "calls": calls / passes}
            for name, seconds, calls in seen.kernels[:10]
        ],
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
