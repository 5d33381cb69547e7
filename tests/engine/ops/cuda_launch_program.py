"""Solve a problem by the CUDA kernel on a machine whose driver is host/driver_on_host.cpp: a process of its own.

Tensors lie in the CPU's memory, which is where that driver runs kernels. What torch says of its GPU is made up here; all that
follows, from the compiled file to the launch, goes the way it goes on a GPU.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import patch

import torch

from engine.ops import cuda, plain
from tests.engine.ops.attention_problem import problem


def main() -> None:
    value, shapes, locations, weights = problem(dtype=torch.float32, width=32, queries=9, heads=3)
    misaligned = torch.empty(value.numel() + 1)[1:].view_as(value).copy_(value)
    sizes = shapes.tolist()
    expected = plain.forward(value, sizes, locations, weights)
    grad = torch.randn_like(expected)
    expected_grads = plain.backward(grad, value, sizes, locations, weights)
    assert cuda.why_missing(0) is None, cuda.why_missing(0)
    for given in (value, misaligned, value.transpose(1, 2).contiguous().transpose(1, 2)):
        assert torch.allclose(cuda.forward(given, sizes, locations, weights), expected, atol=1e-5)
        # autograd calls from a thread of its own, which has no CUDA context at first
        with ThreadPoolExecutor(1) as thread:
            grads = thread.submit(cuda.backward, grad, given, sizes, locations, weights).result()
        for ours, truth in zip(grads, expected_grads, strict=True):
            assert ours.is_contiguous() and torch.allclose(ours, truth, rtol=1e-4, atol=1e-4)
    assert cuda.forward(value, sizes, locations[:, :0], weights[:, :0]).shape == (2, 0, 96)
    assert cuda.backward(grad[:, :0], value, sizes, locations[:, :0], weights[:, :0])[0].count_nonzero() == 0
    print("solved")


if __name__ == "__main__":
    gpu = SimpleNamespace(multi_processor_count=2)
    with (
        patch("torch.version.cuda", "13.2"),
        patch("torch.cuda.get_device_capability", lambda device: (9, 0)),
        patch("torch.cuda.get_device_properties", lambda device: gpu),
        patch("torch.cuda.current_stream", lambda device: SimpleNamespace(cuda_stream=0x5A)),
    ):
        main()
