"""Problems for the attention operator: random ones, and which kernels there are to solve them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.ops import cpu, ms_deform_attn

needs_library = pytest.mark.skipif(cpu.why_missing() is not None, reason=f"no C++ kernel: {cpu.why_missing()}")

# values of MASKDINO_KERNEL
KERNELS = ["plain", pytest.param("auto", marks=needs_library, id="C++")]


def problem(
    *,
    dtype: torch.dtype = torch.float64,
    batch: int = 2,
    queries: int = 5,
    heads: int = 2,
    width: int = 4,
    points: int = 3,
    shapes: tuple[tuple[int, int], ...] = ((4, 6), (2, 3)),
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return value, spatial_shapes, sampling_locations (some outside the map) and attention_weights."""
    generator = torch.Generator().manual_seed(seed)
    length = sum(h * w for h, w in shapes)
    value = torch.randn(batch, length, heads, width, generator=generator, dtype=torch.float64)
    points_shape = (batch, queries, heads, len(shapes), points)
    locations = torch.rand(*points_shape, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(points_shape, generator=generator, dtype=torch.float64)
    return value.to(dtype), torch.tensor(shapes), locations.to(dtype), weights.to(dtype)


def solve(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Return the output and the gradients of value, locations and weights for a fixed gradient of the output."""
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    output = ms_deform_attn(inputs[0], shapes, inputs[1], inputs[2])
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    return output.detach(), *torch.autograd.grad(output, inputs, grad)
