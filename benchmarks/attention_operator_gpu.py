"""How fast the attention operator is on a GPU: the CUDA kernel beside plain PyTorch, grid_sample and the official extension.

    python benchmarks/attention_operator_gpu.py

Passes are replayed from CUDA graphs, so that the figures are the kernels' and not Python's; that of the backward pass is the
difference of both passes and the forward pass. The official extension, MultiScaleDeformableAttention, takes part where it can
be imported. It takes no bfloat16; there the others are compared with its float32. Needs torch alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import statistics
from collections.abc import Callable

import torch
from attention_operator import ENCODERS, by_grid_sample, counted, encoder_problem
from torch import Tensor

from engine.ops import kernel_report, ms_deform_attn

_ROUNDS = 15
_REPEATS = 20  # in one graph: events are not exact enough for one
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def main() -> None:
    """Print the table for the first CUDA device."""
    if not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")
        return
    report = kernel_report()["cuda:0"]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; kernel: {report['kernel']} - {report['why']}")
    print(f"{'':<28}{'forward us':>26}{'backward us':>26}{'times as fast':>20}{'peak MB':>10}")
    for encoder, shapes in ENCODERS.items():
        print(f"{encoder}: {counted(shapes)}")
        for batch in (1, 32):
            _compare(f"batch {batch}", {dtype: _batched(shapes, batch, dtype) for dtype in (torch.float32, torch.bfloat16)})


def _batched(shapes: tuple[tuple[int, int], ...], batch: int, dtype: torch.dtype) -> Problem:
    """An encoder's problem on the GPU; locations and weights stay float32, as they come out of the layers."""
    value, sizes, locations, weights = encoder_problem(shapes, torch.float32)
    value, locations, weights = (
        tensor.expand(batch, *tensor.shape[1:]).contiguous().cuda() for tensor in (value, locations, weights)
    )
    return value.to(dtype), sizes, locations, weights


def _compare(title: str, problems: dict[torch.dtype, Problem]) -> None:
    ways: dict[str, tuple[str, torch.dtype, Callable[..., Tensor]]] = {
        "grid_sample formulation": ("plain", torch.float32, by_grid_sample),
        "plain kernel": ("plain", torch.float32, ms_deform_attn),
        "CUDA kernel": ("auto", torch.float32, ms_deform_attn),
        "CUDA kernel, bfloat16": ("auto", torch.bfloat16, ms_deform_attn),
    }
    if importlib.util.find_spec("MultiScaleDeformableAttention"):
        ways = {"official extension": ("auto", torch.float32, _official()), **ways}
    timers, peaks = {}, {}
    for name, (kernel, dtype, way) in ways.items():
        os.environ["MASKDINO_KERNEL"] = kernel
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        timers[name] = _timers(way, problems[dtype])
        peaks[name] = (torch.cuda.max_memory_allocated() - before) / 1e6
    os.environ.pop("MASKDINO_KERNEL")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, (forward, both) in timers.items():
            alone = forward()
            seconds[name].append((alone, both() - alone))
    first = next(iter(ways))
    print(f" {title}; times as fast as: {first}")
    for name, measured in seconds.items():
        line = f"  {name:<26}"
        for part in (0, 1):
            lower, median, upper = statistics.quantiles([1e6 * each[part] for each in measured], n=4)
            line += f"{f'{median:.1f} ({lower:.1f}-{upper:.1f})':>26}"
        for part in (0, 1):
            line += f"{statistics.median(r[part] / m[part] for r, m in zip(seconds[first], measured, strict=True)):>9.1f}x"
        print(f"{line}{peaks[name]:>10.0f}")


def _timers(way: Callable[..., Tensor], problem: Problem) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return what replays the forward pass, and both passes, and returns the seconds of one."""
    value, shapes, locations, weights = problem
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    grad = torch.randn_like(way(*problem))

    def forward() -> None:
        with torch.no_grad():
            way(*problem)

    def both() -> None:
        torch.autograd.grad(way(inputs[0], shapes, inputs[1], inputs[2]), inputs, grad)

    return _timer(forward), _timer(both)


def _timer(step: Callable[[], None]) -> Callable[[], float]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_REPEATS):
            step()
    graph.replay()

    def seconds() -> float:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1000 / _REPEATS

    return seconds


def _official() -> Callable[..., Tensor]:
    extension = importlib.import_module("MultiScaleDeformableAttention")
    step = 64  # images at once, as the official module asks for

    class Official(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value, shapes, starts, locations, weights):
            ctx.save_for_backward(value, shapes, starts, locations, weights)
            return extension.ms_deform_attn_forward(value, shapes, starts, locations, weights, min(step, len(value)))

        @staticmethod
        def backward(ctx, grad):
            value, *rest = ctx.saved_tensors
            grads = extension.ms_deform_attn_backward(value, *rest, grad.contiguous(), min(step, len(value)))
            return grads[0], None, None, grads[1], grads[2]

    on_gpu: dict[int, tuple[Tensor, Tensor]] = {}  # the sizes of levels: a graph may not copy them

    def way(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        if id(shapes) not in on_gpu:
            starts = torch.cat([torch.zeros(1, dtype=torch.int64), shapes.prod(1).cumsum(0)[:-1]])
            on_gpu[id(shapes)] = shapes.cuda(), starts.cuda()
        return Official.apply(value, *on_gpu[id(shapes)], locations, weights)

    return way


if __name__ == "__main__":
    main()
