"""Which kernel runs, and what happens where the C++ one is not there."""

from __future__ import annotations

import pytest
import torch

from engine.errors import ArgumentError
from engine.ops import cpu, kernel_name, kernel_report, ms_deform_attn, plain
from engine.ops.kernels import kernel_for
from tests.engine.ops.attention_problem import KERNELS, needs_library, problem


@pytest.fixture
def fresh_library(monkeypatch):
    """Let the library be looked for again, here and after the test."""
    monkeypatch.delenv("MASKDINO_KERNEL", raising=False)
    cpu.why_missing.cache_clear()
    yield
    cpu.why_missing.cache_clear()


def test_without_the_library_the_plain_kernel_runs_and_the_report_says_why(fresh_library, tmp_path, monkeypatch) -> None:
    expected = ms_deform_attn(*problem())
    cpu.why_missing.cache_clear()
    monkeypatch.setattr(cpu, "LIBRARY", tmp_path / "maskdino_cpu.so")
    assert torch.allclose(ms_deform_attn(*problem()), expected)
    assert kernel_for(*_tensors()) is plain
    report = kernel_report()["cpu"]
    assert report["kernel"] == kernel_name("cpu") == "plain PyTorch"
    assert "not built" in report["why"] and "build_ext" in report["why"]


def test_a_library_that_does_not_load_is_reported(fresh_library, tmp_path, monkeypatch) -> None:
    broken = tmp_path / "maskdino_cpu.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(cpu, "LIBRARY", broken)
    assert ms_deform_attn(*problem()).shape == (2, 5, 8)
    assert kernel_report()["cpu"]["kernel"] == "plain PyTorch"
    assert "does not load" in kernel_report()["cpu"]["why"]


def _tensors() -> tuple[torch.Tensor, ...]:
    value, _, locations, weights = problem()
    return value, locations, weights


@needs_library
def test_the_library_is_taken_where_it_is_there(fresh_library) -> None:
    value, _, locations, weights = problem()
    assert kernel_for(value, locations, weights) is cpu
    assert kernel_name("cpu") == kernel_report()["cpu"]["kernel"] == f"C++ ({cpu.instruction_set()})"


def test_what_the_library_does_not_take_goes_to_the_plain_kernel(fresh_library) -> None:
    value, locations, weights = _tensors()
    assert kernel_for(value.half(), locations.half(), weights.half()) is plain


@pytest.mark.parametrize("kernel", KERNELS)
def test_types_may_be_mixed(kernel: str, monkeypatch) -> None:
    """Every tensor's gradient is of its own type, and nothing is computed in less than the widest of them."""
    monkeypatch.setenv("MASKDINO_KERNEL", kernel)
    value, shapes, locations, weights = problem(dtype=torch.float32)
    inputs = [tensor.detach().requires_grad_() for tensor in (value.bfloat16(), locations, weights.bfloat16())]
    output = ms_deform_attn(inputs[0], shapes, inputs[1], inputs[2])
    exact = ms_deform_attn(inputs[0].float(), shapes, locations, inputs[2].float())
    assert torch.equal(output, exact.bfloat16())
    grads = torch.autograd.grad(output.sum(), inputs)
    assert [grad.dtype for grad in grads] == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert all(grad.isfinite().all() and grad.count_nonzero() for grad in grads)


def test_the_environment_can_ask_for_the_plain_kernel(monkeypatch) -> None:
    monkeypatch.setenv("MASKDINO_KERNEL", "plain")
    assert kernel_for(*_tensors()) is plain
    assert kernel_report()["cpu"] == {"kernel": "plain PyTorch", "why": "MASKDINO_KERNEL=plain asks for it."}


def test_a_kernel_that_does_not_exist_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("MASKDINO_KERNEL", "fast")
    with pytest.raises(ArgumentError, match=r"MASKDINO_KERNEL is 'fast'.*auto or plain"):
        ms_deform_attn(*problem())
