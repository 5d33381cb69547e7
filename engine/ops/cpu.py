"""The C++ kernel of multi-scale deformable attention on a CPU: a library of engine/csrc that torch loads.

It is built where a compiler is (setup.py); where it is missing, `why_missing` says so and the plain kernel stands in.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("maskdino_cpu.dll" if sys.platform == "win32" else "maskdino_cpu.so")
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
_INSTRUCTION_SETS = ("baseline", "AVX2", "AVX-512")


@functools.cache
def why_missing() -> str | None:
    """Load the library, once. Return None where that succeeds, else one sentence that says why it does not."""
    if not LIBRARY.is_file():
        return (
            "The C++ kernel is not built here. With a C++17 compiler and torch 2.10 or later: "
            "pip install --no-build-isolation, or python setup.py build_ext --inplace."
        )
    try:
        torch.ops.load_library(LIBRARY)
    except OSError as error:
        return f"{LIBRARY.name} does not load with torch {torch.__version__}: {error}"
    return None


def description() -> tuple[str, str]:
    """Name the kernel, and say why it runs."""
    return f"C++ ({instruction_set()})", f"{LIBRARY.name} is built and loads; it takes float32, float64 and bfloat16."


def takes(value: Tensor, locations: Tensor, weights: Tensor) -> bool:
    """Return whether the kernel is made for such tensors: all of one of DTYPES."""
    return value.dtype in DTYPES and value.dtype == locations.dtype == weights.dtype


def instruction_set() -> str:
    """Name what the loaded library uses: baseline (SSE2, NEON), AVX2 or AVX-512.

    It takes the best that the processor has. MASKDINO_CPU=baseline or avx2, set before the first use, makes it take less.
    """
    return _INSTRUCTION_SETS[torch.ops.maskdino.ms_deform_attn_cpu_instruction_set()]


def forward(value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Shapes as in `engine.ops.ms_deform_attn`; all tensors of one of DTYPES. Sums are float32 where they are bfloat16."""
    batch, queries, heads = weights.shape[:3]
    output = value.new_empty(batch, queries, heads * value.shape[-1])
    torch.ops.maskdino.ms_deform_attn_cpu(
        value.contiguous(), torch.tensor(spatial_shapes), locations.contiguous(), weights.contiguous(), output
    )
    return output


def backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, sampling locations and attention weights."""
    # thousands of small terms meet in one element of grad_value: bfloat16 could not add them up
    summed_in = torch.float32 if value.dtype == torch.bfloat16 else value.dtype
    grad_value = torch.zeros(value.shape, dtype=summed_in)
    grad_locations = locations.new_empty(locations.shape)
    grad_weights = weights.new_empty(weights.shape)
    torch.ops.maskdino.ms_deform_attn_cpu_backward(
        grad_output.contiguous(),
        value.contiguous(),
        torch.tensor(spatial_shapes),
        locations.contiguous(),
        weights.contiguous(),
        grad_value,
        grad_locations,
        grad_weights,
    )
    return grad_value.to(value.dtype), grad_locations, grad_weights
