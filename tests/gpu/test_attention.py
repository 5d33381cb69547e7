"""The CUDA kernel against float64: every type, width and shape of problem."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.ops import cuda, kernel_name, ms_deform_attn
from tests.gpu.attention_on_gpu import assert_exact, gathered, on_device, solved
from tests.gpu.device import DEVICE, ON_CPU

FLOAT, HALF, BFLOAT, DOUBLE = torch.float32, torch.float16, torch.bfloat16, torch.float64
PAIRS = [(FLOAT, FLOAT), (DOUBLE, DOUBLE), (HALF, HALF), (HALF, FLOAT), (BFLOAT, BFLOAT), (BFLOAT, FLOAT)]


def test_the_cuda_kernel_runs_and_says_so() -> None:
    assert ON_CPU or cuda.why_missing(0) is None
    assert kernel_name(DEVICE).startswith("plain PyTorch" if ON_CPU else "CUDA (")


@pytest.mark.parametrize(("dtype", "beside"), PAIRS)
@pytest.mark.parametrize("width", [8, 32, 128])
def test_types_and_widths(dtype: torch.dtype, beside: torch.dtype, width: int) -> None:
    assert_exact(on_device(dtype, beside, width=width, heads=3, queries=77, shapes=((13, 17), (7, 9), (1, 1))))


@pytest.mark.parametrize("width", [1, 3, 12, 18, 24, 33, 100, 256])
def test_widths_that_no_vector_divides(width: int) -> None:
    assert_exact(on_device(FLOAT, width=width, queries=19))


@pytest.mark.parametrize("seed", range(12))
def test_random_problems(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(most: int) -> int:
        return int(torch.randint(1, most + 1, (), generator=generator))

    shapes = tuple((draw(40), draw(40)) for _ in range(draw(6)))
    size = {"batch": draw(4), "queries": draw(700), "heads": draw(9), "width": 4 * draw(16), "points": draw(9)}
    assert_exact(on_device(FLOAT, shapes=shapes, seed=seed, **size))


def test_derivatives() -> None:
    value, shapes, locations, weights = on_device(DOUBLE, queries=3, width=18)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    # value's gradient is summed in any order
    assert torch.autograd.gradcheck(lambda v, x, w: ms_deform_attn(v, shapes, x, w), inputs, nondet_tol=1e-12)


@pytest.mark.parametrize("size", [{"queries": 1, "batch": 1}, {"queries": 1, "batch": 1, "heads": 1, "points": 1}])
def test_one_query(size: dict[str, int]) -> None:
    assert_exact(on_device(FLOAT, width=32, **size))


def test_nothing_gives_nothing() -> None:
    value, shapes, locations, weights = on_device(FLOAT)
    assert ms_deform_attn(value[:0], shapes, locations[:0], weights[:0]).shape == (0, 5, 8)
    value.requires_grad_()
    ms_deform_attn(value, shapes, locations[:, :0], weights[:, :0]).sum().backward()
    assert value.grad.count_nonzero() == 0


@pytest.mark.skipif(ON_CPU, reason="a CPU is one device")
def test_tensors_on_several_devices_are_refused() -> None:
    value, shapes, locations, weights = on_device(FLOAT)
    with pytest.raises(ValueError, match="value is on cuda:0, sampling_locations on cpu"):
        ms_deform_attn(value, shapes, locations.cpu(), weights)


@pytest.mark.parametrize("far", [2.0, -3.0, 1e30, -1e30, 3e9])
def test_points_outside_read_nothing_and_learn_nothing(far: float) -> None:
    value, shapes, locations, weights = on_device(FLOAT, width=32)
    results = solved(ms_deform_attn, (value, shapes, torch.full_like(locations, far), weights))
    assert all(result.count_nonzero() == 0 for result in results)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(broken: float) -> None:
    value, shapes, locations, weights = on_device(FLOAT, batch=1)
    locations[0, 2, 1, 0, 0, 0] = broken
    output = ms_deform_attn(value, shapes, locations, weights)
    assert output[0, 2, 4:].isnan().all() and output.isnan().sum() == 4


def test_inputs_need_not_be_contiguous_nor_aligned() -> None:
    value, shapes, locations, weights = on_device(FLOAT, width=32)
    expected = ms_deform_attn(value, shapes, locations, weights)
    shifted = torch.empty(value.numel() + 1, device=DEVICE)[1:].view_as(value).copy_(value)
    strided = value.transpose(1, 3).contiguous().transpose(1, 3)
    backwards = locations.transpose(0, 2).contiguous().transpose(0, 2), weights.repeat_interleave(2, -1)[..., ::2]
    for each in (shifted, strided):
        assert torch.equal(ms_deform_attn(each, shapes, *backwards), expected)


@pytest.mark.parametrize("dtype", [FLOAT, BFLOAT])
def test_the_forward_pass_gives_the_same_bits_every_time(dtype: torch.dtype) -> None:
    given = on_device(dtype, width=32, heads=8, queries=3000, shapes=((64, 64), (32, 32)))
    first = ms_deform_attn(*given)
    assert all(torch.equal(ms_deform_attn(*given), first) for _ in range(5))


@contextlib.contextmanager
def _memory(gib: float) -> Iterator[None]:
    """Skip where so much is not free, or is taken by another program meanwhile."""
    try:
        if not ON_CPU and torch.cuda.mem_get_info()[0] < gib * 2**30:
            raise torch.OutOfMemoryError
        yield
    except torch.OutOfMemoryError:
        pytest.skip(f"needs {gib} GiB of free GPU memory")


@pytest.mark.slow
def test_a_batch_with_more_elements_than_32_bits_count() -> None:
    shapes = torch.tensor([[64, 64], [32, 32], [16, 16], [8, 8]])
    batch, positions = 2 if ON_CPU else 1600, 5440
    assert ON_CPU or batch * positions * 8 * 32 > 2**31

    def results(value, shapes, locations, weights):
        inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
        output = ms_deform_attn(inputs[0], shapes, *inputs[1:])
        return output.detach(), *torch.autograd.grad(output, inputs, torch.ones_like(output))

    with _memory(24):
        value = torch.randn(batch, positions, 8, 32, device=DEVICE, dtype=BFLOAT)
        locations = torch.rand(batch, 2, 8, 4, 4, 2, device=DEVICE)
        weights = torch.rand(batch, 2, 8, 4, 4, device=DEVICE)
        last = value[-1:].clone(), shapes, locations[-1:].clone(), weights[-1:].clone()
        for whole, alone in zip(results(value, shapes, locations, weights), results(*last), strict=True):
            assert torch.allclose(whole[-1:].float(), alone.float(), rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_an_image_with_more_elements_than_32_bits_count() -> None:
    side = 29 if ON_CPU else 2900
    assert ON_CPU or side**2 * 8 * 32 > 2**31
    shapes = torch.tensor([[side, side]])
    with _memory(24):
        value = torch.randn(1, side**2, 8, 32, device=DEVICE, dtype=BFLOAT)
        locations = torch.rand(1, 50, 8, 1, 4, 2, device=DEVICE)
        locations[:, -10:, ..., 1] = 0.9999  # in the last rows
        weights = torch.rand(1, 50, 8, 1, 4, device=DEVICE)
        ours = ms_deform_attn(value, shapes, locations, weights)
        truth = gathered(value, shapes, locations.double(), weights.double())
        assert (ours.double() - truth).abs().max() <= 2**-6 * truth.abs().max()
        value.requires_grad_()
        (grad,) = torch.autograd.grad(ms_deform_attn(value, shapes, locations, weights).sum(), value)
        assert grad[0, -side:].count_nonzero() > 0


_PROGRAM = """
import torch
from tests.gpu.attention_on_gpu import on_device, solved
from tests.gpu.device import streams
from engine.ops import ms_deform_attn
for dtype, width in ((torch.float32, 32), (torch.bfloat16, 32), (torch.float32, 33)):
    solved(ms_deform_attn, on_device(dtype, torch.float32, width=width, heads=3, queries=37, points=5))
streams.synchronize()
"""


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None and not ON_CPU:
        pytest.skip("compute-sanitizer is not here")
    checked = [sanitizer, "--tool", tool, "--error-exitcode", "9", "--kernel-name", "kernel_substring=ms_deform_attn"]
    done = subprocess.run(
        [*([] if ON_CPU else checked), sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if "Device not supported" in done.stdout:
        pytest.skip("compute-sanitizer does not support this device")
    assert done.returncode == 0, done.stdout + done.stderr
