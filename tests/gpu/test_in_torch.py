"""The CUDA kernel inside torch: streams, graphs, compile, export, autocast, several devices, data parallel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.ops import ms_deform_attn
from tests.gpu.attention_on_gpu import assert_exact, on_device, solved
from tests.gpu.device import DEVICE, ON_CPU, record, streams

FLOAT, BFLOAT = torch.float32, torch.bfloat16
SIZE = {"width": 32, "heads": 8, "queries": 500, "shapes": ((32, 32), (16, 16))}


class Attention(nn.Module):
    """The operator as a module, the sizes of levels a constant on the CPU."""

    def __init__(self, shapes: torch.Tensor) -> None:
        super().__init__()
        self.shapes = shapes
        self.scale = nn.Parameter(torch.ones((), device=DEVICE))

    def forward(self, value, locations, weights):
        return ms_deform_attn(value * self.scale, self.shapes, locations, weights)


def test_it_runs_on_the_current_stream() -> None:
    given = on_device(FLOAT, **SIZE)
    expected = ms_deform_attn(*given)
    held = torch.zeros_like(given[0])
    streams.synchronize()
    with streams.stream(streams.Stream()):
        if not ON_CPU:
            torch.cuda._sleep(50_000_000)  # a kernel on another stream would overtake the copy behind this
        held.copy_(given[0])
        output = ms_deform_attn(held, *given[1:])
    streams.synchronize()
    assert torch.equal(output, expected)


def test_a_cuda_graph_replays_both_passes() -> None:
    value, shapes, locations, weights = on_device(FLOAT, **SIZE)
    inputs = [tensor.clone().requires_grad_() for tensor in (value, locations, weights)]
    grad = torch.randn(2, 500, 256, device=DEVICE)

    def step():
        output = ms_deform_attn(inputs[0], shapes, *inputs[1:])
        return output.detach(), *torch.autograd.grad(output, inputs, grad)

    captured, replay = record(step)
    with torch.no_grad():
        inputs[0].mul_(-2)
        inputs[1].add_(0.01)
    replay()
    replayed = [tensor.clone() for tensor in captured]
    for ours, now in zip(replayed, step(), strict=True):
        assert torch.allclose(ours, now, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_torch_compile_without_a_graph_break(mode: str) -> None:
    value, shapes, locations, weights = on_device(FLOAT, **SIZE)
    compiled = torch.compile(Attention(shapes), fullgraph=True, mode=mode)
    for _ in range(3):  # reduce-overhead records, then replays
        output = compiled(value, locations, weights)
    assert torch.allclose(output, ms_deform_attn(value, shapes, locations, weights), atol=1e-5)
    value.requires_grad_()
    (grad,) = torch.autograd.grad(compiled(value, locations, weights).sum(), value)
    (expected,) = torch.autograd.grad(ms_deform_attn(value, shapes, locations, weights).sum(), value)
    assert torch.allclose(grad, expected, atol=1e-4)


def test_torch_export() -> None:
    value, shapes, locations, weights = on_device(FLOAT, **SIZE)
    program = torch.export.export(Attention(shapes), (value, locations, weights))
    assert any("ms_deform_attn" in str(node.target) for node in program.graph.nodes)
    assert torch.equal(program.module()(value, locations, weights), ms_deform_attn(value, shapes, locations, weights))


def test_registration_holds() -> None:
    value, shapes, locations, weights = on_device(FLOAT)
    inputs = (value.requires_grad_(), shapes, locations.requires_grad_(), weights.requires_grad_())
    torch.library.opcheck(torch.ops.maskdino.ms_deform_attn.default, inputs, rtol=1e-4, atol=1e-4)


def test_autocast_leaves_locations_exact() -> None:
    value, shapes, locations, weights = on_device(FLOAT, **SIZE)
    with torch.autocast(DEVICE, BFLOAT):
        projected = nn.functional.linear(value, torch.eye(32, device=DEVICE))  # as a layer before it leaves it
        output = ms_deform_attn(projected, shapes, locations, weights)
    assert projected.dtype == output.dtype == BFLOAT
    assert torch.equal(output, ms_deform_attn(value.bfloat16(), shapes, locations, weights))
    assert_exact((value.bfloat16(), shapes, locations, weights))


def test_sizes_of_levels_may_lie_on_the_gpu() -> None:
    value, shapes, locations, weights = on_device(FLOAT)
    assert torch.equal(
        ms_deform_attn(value, shapes.to(DEVICE), locations, weights), ms_deform_attn(value, shapes, locations, weights)
    )


def test_told_to_be_deterministic_it_is() -> None:
    given = on_device(FLOAT, heads=8, queries=3000, width=32, shapes=((4, 4),))
    torch.use_deterministic_algorithms(True)
    try:
        first = solved(ms_deform_attn, given)
        for _ in range(3):
            assert all(torch.equal(again, before) for again, before in zip(solved(ms_deform_attn, given), first, strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


def test_every_device() -> None:
    if streams.device_count() < 2:
        pytest.skip("one device here")
    given = on_device(FLOAT, **SIZE)
    expected = solved(ms_deform_attn, given)
    for index in range(1, torch.cuda.device_count()):
        moved = tuple(t.to(f"cuda:{index}") if t.is_cuda else t for t in given)
        for ours, truth in zip(solved(ms_deform_attn, moved), expected, strict=True):
            assert torch.allclose(ours.to("cuda:0"), truth, rtol=1e-4, atol=1e-4)


def test_distributed_data_parallel() -> None:
    value, shapes, locations, weights = on_device(FLOAT, **SIZE)
    backend = "nccl" if torch.distributed.is_nccl_available() and not ON_CPU else "gloo"
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        module = Attention(shapes)
        parallel = nn.parallel.DistributedDataParallel(module, device_ids=None if ON_CPU else [0])
        parallel(value, locations, weights).sum().backward()
        (expected,) = torch.autograd.grad(module(value, locations, weights).sum(), module.scale)
        assert torch.allclose(module.scale.grad, expected, rtol=1e-4)
    finally:
        torch.distributed.destroy_process_group()
