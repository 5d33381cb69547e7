"""Whatever is missing for the CUDA kernel: plain PyTorch runs, and one sentence says why."""

from __future__ import annotations

import functools
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from engine.ops import cuda, cuda_driver, nvrtc, plain
from engine.ops.kernels import kernel_for
from tests.engine.ops.attention_problem import problem
from tests.engine.ops.nvrtc_here import needs_nvrtc


@pytest.fixture(autouse=True)
def a_gpu_that_torch_sees(monkeypatch, tmp_path):
    """Let torch report a GPU, and everything be found out anew, here and after the test."""
    monkeypatch.delenv("MASKDINO_KERNEL", raising=False)
    monkeypatch.setenv("MASKDINO_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    kept: tuple[functools._lru_cache_wrapper, ...] = (
        cuda.why_missing, cuda._kernels, nvrtc.version, cuda_driver._primary_context,
    )  # fmt: skip
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


def _reason() -> str:
    """Return why the kernel is missing, once it is sure that plain PyTorch stands in."""
    with FakeTensorMode():
        value, _, locations, weights = (torch.empty(tensor.shape, device="cuda:0") for tensor in problem())
    assert kernel_for(value, locations, weights) is plain
    reason = cuda.why_missing(0)
    assert reason and "\n" not in reason
    return reason


def test_torch_for_another_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)  # ROCm calls its devices cuda too
    assert _reason() == "This torch is not built for CUDA."


def test_no_bindings(monkeypatch) -> None:
    """As on Windows, where torch does not bring them."""
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert "NVRTC is not here" in _reason() and "pip install 'cuda-bindings==13.*'" in _reason()


def test_no_compiler_library(monkeypatch) -> None:
    class Bindings:
        @staticmethod
        def nvrtcVersion():
            raise RuntimeError("Failed to dlopen libnvrtc.so.13\nand more lines")

    monkeypatch.setattr(nvrtc, "_nvrtc", lambda: Bindings)
    assert "Failed to dlopen libnvrtc.so.13. To have it: pip install" in _reason()


@needs_nvrtc
def test_a_gpu_older_than_the_compiler(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (3, 5))
    assert "and later, not 3.5" in _reason()


@needs_nvrtc
def test_no_driver(monkeypatch, caplog) -> None:
    from cuda.bindings import driver

    def not_found(flags: int):
        raise RuntimeError("libcuda.so.1 is not found.\nSearched in: ...")

    monkeypatch.setattr(driver, "cuInit", not_found)
    assert _reason() == "The CUDA driver cannot be used: libcuda.so.1 is not found."
    cuda.why_missing(0)
    assert [record.message.startswith("Plain PyTorch stands in") for record in caplog.records] == [True]  # said once


@needs_nvrtc
def test_a_driver_that_refuses(monkeypatch) -> None:
    from cuda.bindings import driver

    monkeypatch.setattr(driver, "cuInit", lambda flags: (driver.CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,))
    assert _reason() == "cuInit failed: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH."


def _takes(value: torch.dtype, others: torch.dtype, **size) -> bool:
    given, _, locations, weights = problem(**size)
    return cuda.takes(given.to(value), locations.to(others), weights.to(others))


@pytest.mark.parametrize("dtype", cuda.DTYPES)
def test_types(dtype: torch.dtype) -> None:
    assert _takes(dtype, dtype)
    assert _takes(dtype, torch.float32) is (dtype != torch.float64)
    assert not _takes(torch.int32, dtype)
    _, _, locations, weights = problem()
    assert not cuda.takes(torch.empty(1, 30, 2, 4, dtype=dtype), locations.to(dtype), weights.int())


def test_sizes() -> None:
    assert _takes(torch.float32, torch.float32, width=cuda.MAX_WIDTH)
    assert not _takes(torch.float32, torch.float32, width=cuda.MAX_WIDTH + 1)
    assert _takes(torch.float32, torch.float32, shapes=((1, 1),) * cuda.MAX_LEVELS)
    assert not _takes(torch.float32, torch.float32, shapes=((1, 1),) * (cuda.MAX_LEVELS + 1))
    assert not _takes(torch.float32, torch.float32, points=cuda.MAX_POINTS + 1)
