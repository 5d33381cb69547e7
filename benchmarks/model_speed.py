"""How fast a whole model is on a CPU, from an image to its instances: our ways, and the official code beside them.

    python benchmarks/model_speed.py [--size N] [--threads N] [--rounds N]
        [--official CHECKOUT --detectron2 CHECKOUT]      (github.com/IDEA-Research/MaskDINO, facebookresearch/detectron2)

``maskdino_r50`` with weights that follow from the parameters' names (tests/parity_weights.py), the same for all. Ways take
turns within a round; figures are medians over the rounds with the quartiles behind them, ratios are medians of the rounds'
own ratios. With one thread the processor's time is counted instead of the clock's: a busy machine slows all, but not alike.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import typer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import engine
from engine.model.inference import InferenceModel, best_precision
from engine.ops import kernel_report

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "tests")]

from official_maskdino import official_r50  # noqa: E402
from parity_weights import fill  # noqa: E402


def main(
    size: int = 512,
    threads: int = 1,
    rounds: int = 7,
    official: Path | None = None,
    detectron2: Path | None = None,
) -> None:
    """Print the table."""
    if (official is None) != (detectron2 is None):
        raise typer.BadParameter("give --official and --detectron2 together: one needs the other")
    torch.set_num_threads(threads)
    model = engine.build_model("maskdino_r50").eval()
    weights = _filled(engine.export_official(model))
    engine.load_official(model, weights)
    image = _image(size)
    ways: dict[str, Callable[[], object]] = {}
    if official is not None and detectron2 is not None:
        theirs = official_r50(official, detectron2, weights)
        ways["official code"] = lambda: theirs(image)
    ways["ours, as it is trained"] = lambda: model.instances(image[None])
    for precision in ("float32", "bfloat16"):
        ours = InferenceModel(model, precision=precision)
        ways[f"ours for inference, {precision}"] = lambda ours=ours: ours.instances(image[None])
    print(f"maskdino_r50, one image of {size} x {size}; {_machine()}")
    print(f"kernel {kernel_report()['cpu']['kernel']}; precision auto is {best_precision(model)} here")
    peaks = {name: _peak(way) for name, way in ways.items()}
    seconds = _measure(ways, rounds, time.thread_time if threads == 1 else time.perf_counter)
    first = next(iter(ways))
    print(f"{'':<32}{'seconds':>24}{'times as fast':>16}{'memory beside the weights':>28}")
    for name, measured in seconds.items():
        lower, median, upper = statistics.quantiles(measured, n=4)
        ratio = statistics.median(a / b for a, b in zip(seconds[first], measured, strict=True))
        peak = f"{peaks[name]:.0f} MB" if peaks[name] else "not measured"
        print(f"{name:<32}{f'{median:.2f} ({lower:.2f}-{upper:.2f})':>24}{ratio:>15.2f}x{peak:>28}")
    with FlopCounterMode(display=False) as counter:
        model.instances(image[None])
    print(
        f"{counter.get_total_flops() / 1e9:.0f} billion operations an image, a multiply-add counted as two; a product of "
        f"1024 x 1024 matrices in float32 runs {_product_rate(torch.float32):.0f} billion a second, "
        f"in bfloat16 {_product_rate(torch.bfloat16):.0f}"
    )
    if official is None:
        print("official code: not measured, no checkout was given")
    if not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")


def _filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill a state dict by the rule of the parity figures; names that share a tensor take the value of the first."""
    names: dict[int, str] = {}
    for name in sorted(state):
        names.setdefault(state[name].data_ptr(), name)
    filled = {}
    for name, tensor in state.items():
        constant = name.endswith(("empty_weight", "relative_position_index", "num_batches_tracked"))
        value = tensor if constant else torch.from_numpy(fill(names[tensor.data_ptr()], tuple(tensor.shape)))
        filled[name] = value
    return filled


def _image(size: int) -> Tensor:
    """Smooth noise: (3, size, size) in 0..255."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, size // 8, size // 8, generator=generator) * 255
    return F.interpolate(coarse, size=(size, size), mode="bicubic")[0].clamp(0, 255)


def _measure(ways: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = clock()
            way()
            seconds[name].append(clock() - start)
    return seconds


def _peak(way: Callable[[], object]) -> float | None:
    """Megabytes that a call needs at most; Linux with glibc alone lets a program set its high-water mark back."""
    if not Path("/proc/self/clear_refs").exists() or platform.libc_ver()[0] != "glibc":
        return None
    way()  # constants are made, weights are in memory
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls gave back would not count
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    way()
    return (_status("VmHWM") - before) / 1024


def _product_rate(dtype: torch.dtype) -> float:
    """Billions of operations a second in the best of a few products, which no network gets past."""
    matrix = torch.randn(1024, 1024).to(dtype)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    best = math.inf
    for _ in range(20):
        start = clock()
        matrix @ matrix
        best = min(best, clock() - start)
    return 2 * 1024**3 / best / 1e9


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    clock = "processor time" if torch.get_num_threads() == 1 else "wall time"
    return f"{processor}, {os.cpu_count()} cores{load}; {torch.get_num_threads()} threads, {clock}; torch {torch.__version__}"


if __name__ == "__main__":
    typer.run(main)
