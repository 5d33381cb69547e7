"""The CUDA kernel of multi-scale deformable attention: compiled where it runs, at the first use of a type and head width.

The source, engine/csrc/ms_deform_attn.cuh, needs neither a compiler nor headers on the user's machine (`nvrtc`); what was
compiled is kept on disk (`kernel_cache`). Where a piece is missing, `why_missing` says which, and plain PyTorch stands in.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import KernelError
from engine.ops import kernel_cache, nvrtc, plain
from engine.ops.cuda_driver import LoadedKernels
from engine.ops.cuda_problem import MAX_LEVELS, MAX_POINTS, Launch, Problem, launch_for, problem_of

_LOG = logging.getLogger(__name__)

DTYPES = {torch.float32: "float", torch.float64: "double", torch.float16: "Half", torch.bfloat16: "BFloat16"}
MAX_WIDTH = 256  # channels of a head
_SOURCE = "ms_deform_attn.cuh"
_CSRC = Path(__file__).parents[1] / "csrc"


def description(device: int) -> tuple[str, str]:
    """Name the kernel, and say why it runs."""
    version = ".".join(map(str, nvrtc.version()))
    target = nvrtc.target(torch.cuda.get_device_capability(device))
    return f"CUDA ({target})", f"NVRTC {version} compiled it for this GPU; it takes float16, bfloat16, float32 and float64."


def takes(value: Tensor, locations: Tensor, weights: Tensor) -> bool:
    """Return whether the kernel is made for such tensors: all of one type, or the other two float32 beside a half type."""
    levels, points = weights.shape[3:]
    beside = (value.dtype, torch.float32) if value.dtype.itemsize == 2 else (value.dtype,)
    known = value.dtype in DTYPES and locations.dtype in beside and weights.dtype == locations.dtype
    return known and value.shape[3] <= MAX_WIDTH and levels <= MAX_LEVELS and points <= MAX_POINTS


@functools.cache
def why_missing(device: int) -> str | None:
    """Compile and load a kernel for a device, once. Return None where that succeeds, else one sentence that says why not."""
    if torch.version.cuda is None:
        return "This torch is not built for CUDA."  # it may call an AMD GPU by that name
    try:
        _kernels(device, torch.float32, torch.float32, 32, False)
    except KernelError as error:
        reason = str(error)
    except (ImportError, OSError, RuntimeError) as error:  # what cuda.bindings raises where a library is not found
        reason = f"The CUDA driver cannot be used: {str(error).splitlines()[0]}"
    else:
        return None
    _LOG.warning("Plain PyTorch stands in for the CUDA kernel of the attention operator. %s", reason)
    return reason


def forward(value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Shapes as in `engine.ops.ms_deform_attn`; what `takes` accepts. The result is the same to the last bit every time."""
    batch, queries, heads = weights.shape[:3]
    output = value.new_empty(batch, queries, heads * value.shape[-1])
    if output.numel():
        value, locations, weights = _laid_out(value, locations, weights)
        _start("forward", value, spatial_shapes, locations, weights, output=output)
    return output


def backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, sampling locations and attention weights.

    That of value is added up in the order in which the GPU works, so that its last bits differ from run to run; where torch
    is told to be deterministic, plain PyTorch takes over, which sums in one order.
    """
    if torch.are_deterministic_algorithms_enabled():
        common = value.dtype if value.dtype == locations.dtype else torch.float32
        grads = plain.backward(*(t.to(common) for t in (grad_output, value)), spatial_shapes, locations, weights)
        return grads[0].to(value.dtype), grads[1], grads[2]
    # thousands of small terms meet in one element of grad_value: half types could not add them up
    summed_in = torch.float64 if value.dtype == torch.float64 else torch.float32
    grad_value = torch.zeros(value.shape, dtype=summed_in, device=value.device)
    if not grad_output.numel():
        return grad_value.to(value.dtype), torch.zeros_like(locations), torch.zeros_like(weights)
    grad_output, value, locations, weights = _laid_out(grad_output, value, locations, weights)
    grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
    grads = {"grad_value": grad_value, "grad_locations": grad_locations, "grad_weights": grad_weights}
    _start("backward", value, spatial_shapes, locations, weights, grad_output=grad_output, **grads)
    return grad_value.to(value.dtype), grad_locations, grad_weights


def binary(capability: tuple[int, int], value: torch.dtype, points: torch.dtype, width: int, wide: bool) -> bytes:
    """Return the compiled kernels, from disk where they are there.

    Args:
        capability: of the GPU.
        value: type of value.
        points: type of locations and weights.
        width: channels of a head.
        wide: an image's value has more elements than 32 bits count.

    Raises:
        KernelError: NVRTC is not here, or does not know the GPU.
    """
    version = nvrtc.version()
    target = nvrtc.target(capability)
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(_CSRC.glob("*.cuh"))}
    text = texts.pop(_SOURCE)
    options = [
        f"-DMASKDINO_VALUE={DTYPES[value]}",
        f"-DMASKDINO_POINT={DTYPES[points]}",
        f"-DMASKDINO_WIDTH={width}",
        f"-DMASKDINO_INDEX={'long long' if wide else 'int'}",
    ]
    return kernel_cache.cached(
        repr((version, target, options, text, texts)),
        lambda: nvrtc.compiled(text, name=_SOURCE, headers=texts, options=options, target=target),
    )


@functools.cache
def _kernels(device: int, value: torch.dtype, points: torch.dtype, width: int, wide: bool) -> LoadedKernels:
    capability = torch.cuda.get_device_capability(device)
    return LoadedKernels(binary(capability, value, points, width, wide), device)


def _laid_out(*tensors: Tensor) -> list[Tensor]:
    """Make tensors contiguous and begin where 16 bytes can be read at once, which a view may not."""
    contiguous = [tensor.contiguous() for tensor in tensors]
    return [tensor if tensor.data_ptr() % 16 == 0 else tensor.clone() for tensor in contiguous]


def _start(
    kernel: str, value: Tensor, spatial_shapes: list[list[int]], locations: Tensor, weights: Tensor, **others: Tensor
) -> None:
    """Queue a pass; `others` are the remaining tensors of `Problem`, by name."""
    batch, queries, heads = weights.shape[:3]
    device, shapes = value.get_device(), tuple(map(tuple, spatial_shapes))
    template, launch, kernels = _plan(
        kernel, device, value.dtype, locations.dtype, shapes, batch, queries, heads, value.shape[3], weights.shape[4]
    )
    problem = Problem.from_buffer_copy(template)
    for name, tensor in {"value": value, "locations": locations, "weights": weights, **others}.items():
        setattr(problem, name, tensor.data_ptr())
    kernels.start(f"ms_deform_attn_{kernel}".encode(), launch, problem, torch.cuda.current_stream(device).cuda_stream)


@functools.lru_cache(maxsize=1024)
def _plan(
    kernel: str,
    device: int,
    value: torch.dtype,
    point: torch.dtype,
    shapes: tuple[tuple[int, int], ...],
    batch: int,
    queries: int,
    heads: int,
    width: int,
    points: int,
) -> tuple[bytes, Launch, LoadedKernels]:
    """Prepare what does not depend on where tensors are: a model asks for the same few things again and again."""
    problem = problem_of(shapes=shapes, heads=heads, queries=queries, points_a_level=points)
    wide = problem.positions * heads * width >= 2**30  # a corner below the map is computed before it is dropped
    sum_bytes = max(4, value.itemsize)
    launch = launch_for(
        problem,
        batch=batch,
        width=width,
        vector_bytes=value.itemsize if kernel == "forward" else sum_bytes,
        sum_bytes=sum_bytes,
        index_bytes=8 if wide else 4,
        backward=kernel == "backward",
        multiprocessors=torch.cuda.get_device_properties(device).multi_processor_count,
    )
    problem.chunk = launch.chunk
    return bytes(problem), launch, _kernels(device, value, point, width, wide)
