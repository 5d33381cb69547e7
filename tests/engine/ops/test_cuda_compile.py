"""NVRTC compiles the kernels for every GPU from Turing to Blackwell; no GPU is needed for that."""

from __future__ import annotations

import pytest
import torch

from engine.errors import KernelError
from engine.ops import cuda, nvrtc
from tests.engine.ops.nvrtc_here import needs_nvrtc

pytestmark = needs_nvrtc

FLOAT, HALF, BFLOAT, DOUBLE = torch.float32, torch.float16, torch.bfloat16, torch.float64
TYPES = [(FLOAT, FLOAT), (HALF, HALF), (BFLOAT, FLOAT), (DOUBLE, DOUBLE)]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MASKDINO_CACHE", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)], ids=str)
def test_every_architecture(capability: tuple[int, int]) -> None:
    if nvrtc.target(capability).startswith("compute"):
        pytest.skip(f"NVRTC {nvrtc.version()} does not know {capability}")
    for value, points in TYPES:
        binary = cuda.binary(capability, value, points, 32, False)
        assert binary.startswith(b"\x7fELF") and b"ms_deform_attn_forward" in binary and b"ms_deform_attn_backward" in binary


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 8, 16, 24, 33, 64, 128, 256])
def test_every_width(width: int) -> None:
    for value, points in ((FLOAT, FLOAT), (BFLOAT, BFLOAT), (HALF, FLOAT)):
        assert cuda.binary((9, 0), value, points, width, width == 128).startswith(b"\x7fELF")


def test_a_gpu_newer_than_the_compiler_gets_what_its_driver_can_translate(monkeypatch) -> None:
    monkeypatch.setattr(nvrtc, "version", lambda: (1, 0))
    target = nvrtc.target((99, 0))
    assert target.startswith("compute_")
    text = cuda.binary((99, 0), FLOAT, FLOAT, 32, False)
    assert b".visible .entry ms_deform_attn_forward" in text and text.endswith(b"\0")


def test_additions_to_memory_are_vectors_where_the_gpu_has_them(monkeypatch) -> None:
    for target, count in (("compute_80", 0), ("compute_90", 4)):
        monkeypatch.setattr(nvrtc, "target", lambda capability, target=target: target)
        text = cuda.binary((9, 0), FLOAT, FLOAT, 32, False)
        assert text.count(b"red.global.add.v4.f32") == count


def test_a_gpu_older_than_the_compiler_is_refused() -> None:
    with pytest.raises(KernelError, match=r"compiles for compute capability \d+\.\d and later, not 3.0"):
        nvrtc.target((3, 0))


def test_a_source_that_does_not_compile_says_where() -> None:
    with pytest.raises(KernelError, match=r"broken.cu does not compile for sm_80: broken.cu\(1\): error:.*nothing"):
        nvrtc.compiled("__device__ int a = nothing;", name="broken.cu", headers={}, options=[], target="sm_80")
