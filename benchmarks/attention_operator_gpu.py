"""How fast the attention operator is on a GPU: the CUDA kernel beside plain PyTorch, grid_sample and the official extension.

    python benchmarks/attention_operator_gpu.py [--device DEVICE] [--batch N] [--batch N] [--rounds N] [--shrink N] [--way NAME]

Every way is measured in a process of its own, so that one that fails leaves the others. Passes are replayed from CUDA graphs,
so that the figures are the kernels' and not Python's; that of the backward pass is the difference of both passes and the
forward pass. The official extension, MultiScaleDeformableAttention, takes part where it can be imported. It takes no bfloat16;
there the others are compared with its float32. ``--device cpu --shrink 16`` tries the program out.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import typer
from attention_operator import ENCODERS, by_grid_sample, counted, encoder_problem
from measuring import Recorded, machine, note, spread
from torch import Tensor

from engine.ops import kernel_report, ms_deform_attn

Problem = tuple[Tensor, Tensor, Tensor, Tensor]

OFFICIAL = "MultiScaleDeformableAttention"
# MASKDINO_KERNEL, the type of value, and the formulation; None is the official extension
WAYS: dict[str, tuple[str, torch.dtype, Callable[..., Tensor] | None]] = {
    "official extension": ("auto", torch.float32, None),
    "grid_sample formulation": ("plain", torch.float32, by_grid_sample),
    "plain kernel": ("plain", torch.float32, ms_deform_attn),
    "our kernel": ("auto", torch.float32, ms_deform_attn),
    "our kernel, bfloat16": ("auto", torch.bfloat16, ms_deform_attn),
}


def main(
    device: str = "cuda",
    batch: list[int] = typer.Option([1, 32]),
    rounds: int = 15,
    shrink: int = typer.Option(1, help="Divide the sides of all levels."),
    way: str | None = typer.Option(None, help="Measure this one alone, here and now."),
) -> None:
    """Measure every way in a process of its own, then print how they compare."""
    if device == "cuda" and not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")
        return
    if way is not None:
        _measure(way, device, batch, rounds, shrink)
        return
    report = kernel_report()["cuda:0" if device == "cuda" else device]
    print(f"{machine(device)}; kernel: {report['kernel']} - {report['why']}")
    for encoder, shapes in _encoders(shrink).items():
        print(f"{encoder}: {counted(shapes)}")
    print(f"{'':<54}{'forward us':>26}{'backward us':>26}{'peak MB':>10}", flush=True)
    ways = [name for name in WAYS if name != "official extension" or importlib.util.find_spec(OFFICIAL)]
    sizes = [word for each in batch for word in ("--batch", str(each))]
    how = ["--device", device, "--rounds", str(rounds), "--shrink", str(shrink), *sizes]
    _compare([line for name in ways for line in _in_a_process(name, how)])


def _in_a_process(way: str, how: list[str]) -> list[dict[str, Any]]:
    """Measure a way, and return what it noted before it ended or failed."""
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder, "figures")
        noted.touch()
        done = subprocess.run(
            [sys.executable, __file__, "--way", way, *how], env={**os.environ, "MASKDINO_FIGURES": str(noted)}, check=False
        )
        lines = [json.loads(line) for line in noted.read_text(encoding="utf-8").splitlines()]
    if done.returncode:
        print(f"{way}: failed with status {done.returncode} after {len(lines)} figures", flush=True)
        lines.append({"way": way, "failed": done.returncode})
    for line in lines:
        note(**line)
    return [line for line in lines if "failed" not in line]


def _compare(lines: Iterable[dict[str, Any]]) -> None:
    """Print how many times as fast as the first way each is, by medians."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        cases.setdefault(f"{line['encoder']}, batch {line['batch']}", []).append(line)
    for case, (first, *others) in cases.items():
        for line in others:
            ratios = [f"{first[part] / max(line[part], 1e-9):.1f}x" for part in ("forward_us", "backward_us")]
            print(f"{case}: {line['way']} is {ratios[0]} as fast as {first['way']} forward, {ratios[1]} backward")


def _measure(way: str, device: str, batches: list[int], rounds: int, shrink: int) -> None:
    """Print and note a row per encoder and batch."""
    kernel, dtype, formulation = WAYS[way]
    os.environ["MASKDINO_KERNEL"] = kernel
    torch.manual_seed(0)
    for encoder, shapes in _encoders(shrink).items():
        for batch in batches:
            problem = _problem(shapes, batch, dtype, device)
            passes, peak = _recorded(formulation or _official(problem[1]), problem, device)
            measured = []
            for _ in range(rounds):
                forward, both = (each.seconds() for each in passes)
                measured.append((1e6 * forward, 1e6 * (both - forward)))
            forward, backward = ([each[part] for each in measured] for part in (0, 1))
            title = f"{encoder}, batch {batch}: {way}"
            memory = f"{peak:.0f}" if peak is not None else "-"
            print(f"{title:<54}{spread(forward, 1):>26}{spread(backward, 1):>26}{memory:>10}", flush=True)
            note(
                encoder=encoder, batch=batch, way=way, forward_us=statistics.median(forward),
                backward_us=statistics.median(backward), megabytes=peak,
            )  # fmt: skip


def _encoders(shrink: int) -> dict[str, tuple[tuple[int, int], ...]]:
    if shrink == 1:
        return ENCODERS
    return {
        f"{encoder} / {shrink}": tuple((max(1, rows // shrink), max(1, columns // shrink)) for rows, columns in shapes)
        for encoder, shapes in ENCODERS.items()
    }


def _problem(shapes: tuple[tuple[int, int], ...], batch: int, dtype: torch.dtype, device: str) -> Problem:
    """An encoder's problem on the device; locations and weights stay float32, as they come out of the layers."""
    value, sizes, locations, weights = encoder_problem(shapes, torch.float32)
    value, locations, weights = (
        tensor.to(device).expand(batch, *tensor.shape[1:]).contiguous() for tensor in (value, locations, weights)
    )
    return value.to(dtype), sizes, locations, weights


def _recorded(
    formulation: Callable[..., Tensor], problem: Problem, device: str
) -> tuple[tuple[Recorded, Recorded], float | None]:
    """Record the forward pass, and both passes; return the megabytes that they take beside the problem, on a GPU."""
    value, shapes, locations, weights = problem
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    on_gpu = device.startswith("cuda")
    before = 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    grad = torch.randn_like(formulation(*problem))

    def forward() -> None:
        with torch.no_grad():
            formulation(*problem)

    def both() -> None:
        torch.autograd.grad(formulation(inputs[0], shapes, inputs[1], inputs[2]), inputs, grad)

    passes = Recorded(forward, device), Recorded(both, device)
    return passes, (torch.cuda.max_memory_allocated() - before) / 1e6 if on_gpu else None


def _official(shapes: Tensor) -> Callable[..., Tensor]:
    """Return the official extension for levels of these sizes, which lie on the GPU beforehand: a graph may not copy them."""
    extension = importlib.import_module(OFFICIAL)
    step = 64  # images at once, as the official module asks for
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), shapes.prod(1).cumsum(0)[:-1]]).cuda()
    sizes = shapes.cuda()

    class Official(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value, locations, weights):
            ctx.save_for_backward(value, locations, weights)
            return extension.ms_deform_attn_forward(value, sizes, starts, locations, weights, min(step, len(value)))

        @staticmethod
        def backward(ctx, grad):
            value, locations, weights = ctx.saved_tensors
            return tuple(
                extension.ms_deform_attn_backward(
                    value, sizes, starts, locations, weights, grad.contiguous(), min(step, len(value))
                )
            )

    return lambda value, _, locations, weights: Official.apply(value, locations, weights)


if __name__ == "__main__":
    typer.run(main)
