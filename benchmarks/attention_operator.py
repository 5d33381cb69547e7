"""How fast the attention operator is: each kernel beside the usual formulation by grid_sample, forward and backward.

    python benchmarks/attention_operator.py [--threads N] [--rounds N]

All ways take turns within a round, so that a busy machine slows them alike; figures are the median over the rounds, with the
quartiles behind it, and ratios are medians of the rounds' own ratios. With one thread it is the processor's time that counts,
so that other programs on the machine do not. Shapes are those of the encoders at published sizes. This is the CPU;
attention_operator_gpu.py is the GPU.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import torch
from measuring import machine, megabytes, peak_megabytes, spread
from torch import Tensor
from torch.nn import functional as F

from engine.ops import kernel_report, ms_deform_attn

ENCODERS = {
    "R50, 512 x 512": ((64, 64), (32, 32), (16, 16), (8, 8)),
    "Swin-L, 320 x 320": ((80, 80), (40, 40), (20, 20), (10, 10), (5, 5)),
}
HEADS, WIDTH, POINTS = 8, 32, 4


def main(threads: int = 2, rounds: int = 15) -> None:
    """Print what there is to do, and how long each way takes on the CPU."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    report = kernel_report()["cpu"]
    print(machine())
    print(f"kernel: {report['kernel']} - {report['why']}")
    print(f"{'':<26}{'forward ms':>28}{'backward ms':>28}{'times as fast':>20}{'peak':>14}")
    for encoder, shapes in ENCODERS.items():
        print(f"{encoder}: {counted(shapes)}")
        for dtype in (torch.float32, torch.bfloat16):
            _compare(f"{encoder}, {str(dtype).removeprefix('torch.')}", encoder_problem(shapes, dtype), rounds)


def by_grid_sample(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Compute the operator the usual way where no kernel is: one grid_sample a level, derivatives by autograd."""
    batch, _, heads, width = value.shape
    queries = locations.shape[1]
    sizes = [(int(height), int(row)) for height, row in shapes]
    sampled = []
    for level, part in enumerate(value.split([height * row for height, row in sizes], dim=1)):
        maps = part.flatten(2).transpose(1, 2).reshape(batch * heads, width, *sizes[level])
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    flat_weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    output = (torch.stack(sampled, dim=-2).flatten(-2) * flat_weights).sum(-1)
    return output.view(batch, heads * width, queries).transpose(1, 2).contiguous()


def counted(shapes: tuple[tuple[int, int], ...]) -> str:
    """Say what a float32 forward pass of one image has to move and to compute."""
    positions = sum(height * row for height, row in shapes)
    points = positions * HEADS * len(shapes) * POINTS
    moved = 4 * (2 * positions * HEADS * WIDTH + 3 * points)  # value and output; locations and weights
    gathered = 4 * points * 4 * WIDTH  # four corners a point
    return (
        f"{positions * HEADS:,} rows of {len(shapes) * POINTS} points; {moved / 1e6:.1f} MB of tensors, "
        f"{gathered / 1e6:.0f} MB of corners gathered from them, {2 * points * 4 * WIDTH / 1e6:.0f} million operations"
    )


def encoder_problem(shapes: tuple[tuple[int, int], ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An encoder's: every pixel of every level is a query that looks at points a few pixels around it."""
    centres = [
        torch.cartesian_prod((torch.arange(height) + 0.5) / height, (torch.arange(row) + 0.5) / row).flip(1)
        for height, row in shapes
    ]
    reference = torch.cat(centres)[None, :, None, None, None]  # (1, Q, 1, 1, 1, 2)
    queries, levels = reference.shape[1], len(shapes)
    sizes = torch.tensor(shapes).flip(1)[:, None]
    locations = reference + 2 * torch.randn(1, queries, HEADS, levels, POINTS, 2) / sizes
    weights = torch.randn(1, queries, HEADS, levels * POINTS).softmax(-1).view(1, queries, HEADS, levels, POINTS)
    value = torch.randn(1, queries, HEADS, WIDTH)
    return value.to(dtype), torch.tensor(shapes), locations.to(dtype), weights.to(dtype)


def _compare(title: str, problem: tuple[Tensor, Tensor, Tensor, Tensor], rounds: int) -> None:
    ways: dict[str, tuple[str, Callable[..., Tensor]]] = {
        "grid_sample formulation": ("plain", by_grid_sample),
        "plain kernel": ("plain", ms_deform_attn),
    }
    if kernel_report()["cpu"]["kernel"] != "plain PyTorch":
        ways["C++ kernel"] = ("auto", ms_deform_attn)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, (kernel, way) in ways.items():
            os.environ["MASKDINO_KERNEL"] = kernel
            seconds[name].append(_time(way, problem))
    peaks = {}
    for name, (kernel, way) in ways.items():
        os.environ["MASKDINO_KERNEL"] = kernel
        peaks[name] = peak_megabytes(lambda way=way: _time(way, problem))
    os.environ.pop("MASKDINO_KERNEL")
    print(title)
    reference = seconds["grid_sample formulation"][1:]  # the first round warms up
    for name, measured in seconds.items():
        line = f"  {name:<24}"
        for part in (0, 1):
            line += f"{spread([1000 * each[part] for each in measured[1:]], 1):>28}"
        for part in (0, 1):
            line += f"{statistics.median(r[part] / m[part] for r, m in zip(reference, measured[1:], strict=True)):>9.1f}x"
        print(line + f"{megabytes(peaks[name]):>14}")


def _time(way: Callable[..., Tensor], problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Return the seconds of a forward pass without gradients and of a backward pass."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    with torch.no_grad():
        start = clock()
        way(*problem)
        forward = clock() - start
    value, shapes, locations, weights = problem
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    output = way(inputs[0], shapes, inputs[1], inputs[2])
    grad = torch.randn_like(output)
    start = clock()
    torch.autograd.grad(output, inputs, grad)
    return forward, clock() - start


if __name__ == "__main__":
    import typer  # here, so that attention_operator_gpu.py needs torch alone

    typer.run(main)
