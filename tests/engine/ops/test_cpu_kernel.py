"""The C++ kernel against the plain one, in every shape that takes another way through it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from engine.ops import cpu
from tests.engine.ops.attention_problem import needs_library, problem, solve

pytestmark = needs_library

# one channel, tails of every pack, whole packs, more than the channels summed at once
WIDTHS = [1, 3, 8, 12, 16, 30, 32, 64, 100, 130, 257]


def _with(kernel: str, monkeypatch, given) -> tuple[torch.Tensor, ...]:
    monkeypatch.setenv("MASKDINO_KERNEL", kernel)
    return solve(*given)


@pytest.mark.parametrize("width", WIDTHS)
def test_agrees_with_the_plain_kernel(width: int, monkeypatch) -> None:
    given = problem(width=width, heads=3, queries=17, seed=width)
    for ours, plain in zip(_with("auto", monkeypatch, given), _with("plain", monkeypatch, given), strict=True):
        assert ours.dtype == plain.dtype and ours.shape == plain.shape
        assert torch.allclose(ours, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("points", [1, 4, 11, 16, 40])  # up to 80 a query and head: more than are prepared at once
@pytest.mark.parametrize("shapes", [((4, 6), (2, 3)), ((1, 1), (1, 7), (7, 1))])
def test_any_number_of_points_and_levels(points: int, shapes, monkeypatch) -> None:
    given = problem(points=points, shapes=shapes, width=8)
    for ours, plain in zip(_with("auto", monkeypatch, given), _with("plain", monkeypatch, given), strict=True):
        assert torch.allclose(ours, plain, rtol=1e-10, atol=1e-12)


def test_points_on_the_centres_of_pixels(monkeypatch) -> None:
    """Where the derivative jumps, both kernels take the one of the cell to the right and below."""
    value, shapes, locations, weights = problem(shapes=((4, 8),), points=4)
    columns = torch.randint(-1, 9, locations.shape[:-1], generator=torch.Generator().manual_seed(3))
    locations[..., 0] = (columns + 0.5) / 8
    locations[..., 1] = (columns.flip(0) % 5 + 0.5) / 4
    given = (value, shapes, locations, weights)
    for ours, plain in zip(_with("auto", monkeypatch, given), _with("plain", monkeypatch, given), strict=True):
        assert torch.allclose(ours, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_results_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    given = problem(dtype=dtype, queries=301, heads=8, width=32, shapes=((24, 31), (12, 16)))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(solve(*given))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-5), (torch.bfloat16, 2**-7)])
def test_errors_are_those_of_the_type_not_of_the_sums(dtype: torch.dtype, bound: float) -> None:
    """bfloat16 keeps 8 bits: sums are float32, so that an output is wrong by its own rounding, not by that of its terms."""
    given = problem(dtype=dtype, queries=400, heads=2, width=32, points=8, shapes=((13, 17), (7, 9)))
    exact = solve(*(tensor.double() if tensor.is_floating_point() else tensor for tensor in given))
    for rounded, truth in zip(solve(*given), exact, strict=True):
        assert rounded.dtype == dtype
        assert (rounded.double() - truth).abs().max() <= bound * truth.abs().max()


def test_the_library_refuses_what_python_would_never_send() -> None:
    value, shapes, locations, weights = problem()
    output = torch.empty(2, 5, 8, dtype=torch.float64)
    run = torch.ops.maskdino.ms_deform_attn_cpu
    with pytest.raises(RuntimeError, match="contiguous"):
        run(value.transpose(2, 3), shapes, locations, weights, output)
    with pytest.raises(RuntimeError, match="cover 120 positions"):
        run(value, 2 * shapes, locations, weights, output)
    with pytest.raises(RuntimeError, match="elements instead of"):
        run(value, shapes, locations, weights, output[:, :4].contiguous())
    with pytest.raises(RuntimeError, match="dtype"):
        run(value, shapes, locations.float(), weights, output)
    with pytest.raises(RuntimeError, match="float32, float64 or bfloat16"):
        run(*(t.half() if t.is_floating_point() else t for t in (value, shapes, locations, weights, output)))


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["baseline", "avx2"])
def test_every_instruction_set_computes_the_same(instructions: str, project) -> None:
    """A wheel is built elsewhere: this machine's processor must not be the only one that the kernel is right on."""
    if instructions == "avx2" and cpu.instruction_set() == "baseline":
        pytest.skip("this processor has no AVX2")
    chosen = (
        "-k",
        "agrees_with or any_number or errors_are or threads",
        "--override-ini=addopts=--import-mode=importlib",
    )
    environment = {**os.environ, "MASKDINO_CPU": instructions}
    report = "from engine.ops import kernel_report; print(kernel_report()['cpu']['kernel'])"
    named = subprocess.run([sys.executable, "-c", report], cwd=project, env=environment, capture_output=True, text=True)
    assert named.stdout.strip().lower() == f"c++ ({instructions})"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, __file__],
        cwd=project, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
