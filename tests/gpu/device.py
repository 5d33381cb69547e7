"""The device that these tests run on, and CUDA graphs of it.

It is the first GPU. MASKDINO_TEST_DEVICE=cpu has the same tests run on a CPU with the plain kernel, so that they are tested
themselves where no GPU is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DEVICE = os.environ.get("MASKDINO_TEST_DEVICE", "cuda")
ON_CPU = DEVICE == "cpu"
streams = torch.get_device_module(DEVICE)  # torch.cpu knows streams too, all of them one


def record(step: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
    """Record a step as a CUDA graph: return the tensors that it fills, and what fills them again.

    A CPU has no graphs: there the step is run again and its results are copied.
    """
    side = streams.Stream()
    side.wait_stream(streams.current_stream())
    with streams.stream(side):
        recorded = step()  # compiles and loads kernels, makes constants: a capture may not
    streams.current_stream().wait_stream(side)
    if ON_CPU:
        return recorded, lambda: _copy(step(), recorded)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    return recorded, graph.replay


@torch.no_grad()
def _copy(results: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for result, target in zip(results, targets, strict=True):
        target.copy_(result)
