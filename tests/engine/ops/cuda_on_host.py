"""Build the CUDA kernels for the CPU (tests/engine/ops/host) and solve problems with them there, in blocks, warps and lanes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.ops.cuda import DTYPES
from engine.ops.cuda_problem import launch_for, problem_of

COMPILER = shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="fibres and sanitizers: needs g++ or clang++ on Linux"
)
_FOLDER = Path(__file__).with_name("host")
_SOURCES = Path(__file__).parents[3] / "engine" / "csrc"


@dataclass(frozen=True)
class Build:
    """What the kernels are compiled for."""

    value: torch.dtype = torch.float32
    points: torch.dtype = torch.float32
    width: int = 32
    wide: bool = False  # 64-bit indices
    vector_adds: bool = False  # as from sm_90 on

    @property
    def name(self) -> str:
        index, adds = "long long" if self.wide else "int", "vector" if self.vector_adds else "single"
        return f"{DTYPES[self.value]}, {DTYPES[self.points]}, {self.width} channels, {index}, {adds} adds"


def build(wanted: Build, folder: Path) -> Path:
    """Return a program that solves problems; out-of-bounds accesses and undefined arithmetic end it."""
    program = folder / wanted.name
    if not program.exists():
        _compile(wanted, "run_on_host.cpp", program, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return program


def build_driver(folder: Path) -> None:
    """Write a CUDA driver that runs the kernels on the CPU: libcuda.so.1."""
    _compile(Build(), "driver_on_host.cpp", folder / "libcuda.so.1", "-shared", "-fPIC", "-fvisibility=hidden")


def _compile(wanted: Build, source: str, target: Path, *options: str) -> None:
    definitions = [
        f"-DMASKDINO_VALUE={DTYPES[wanted.value]}",
        f"-DMASKDINO_POINT={DTYPES[wanted.points]}",
        f"-DMASKDINO_WIDTH={wanted.width}",
        f"-DMASKDINO_INDEX={'long long' if wanted.wide else 'int'}",
        *(["-DON_HOST_VECTOR_ADDS"] if wanted.vector_adds else []),
    ]
    warnings = ["-Wall", "-Wno-unknown-pragmas", "-Werror"]
    folders = ["-I", str(_SOURCES), "-I", str(_FOLDER)]
    subprocess.run(
        [
            COMPILER,
            "-std=c++17",
            "-O1",
            "-g1",
            *warnings,
            *definitions,
            *folders,
            *options,
            str(_FOLDER / source),
            "-o",
            target,
        ],
        check=True,
    )


def solve(
    program: Path,
    wanted: Build,
    given: tuple[Tensor, Tensor, Tensor, Tensor],
    grad_output: Tensor,
    *,
    multiprocessors: int = 1,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the output and the gradients of value, locations and weights, as the kernels leave them.

    Args:
        program: of `build`.
        wanted: what it was built for.
        given: as `attention_problem.problem` returns it.
        grad_output: (B, Q, M*D).
        multiprocessors: of the GPU that the work is shared out for: the more, the smaller the blocks.
        seed: of the order in which lanes take turns.
    """
    value, shapes, locations, weights = given
    batch, queries, heads, _, points = weights.shape
    sum_type = torch.float64 if wanted.value == torch.float64 else torch.float32
    problem = problem_of(shapes=shapes.tolist(), heads=heads, queries=queries, points_a_level=points)
    launches = [
        launch_for(
            problem, batch=batch, width=wanted.width, backward=backward, multiprocessors=multiprocessors,
            vector_bytes=sum_type.itemsize if backward else wanted.value.itemsize,
            sum_bytes=sum_type.itemsize, index_bytes=8 if wanted.wide else 4,
        )
        for backward in (False, True)
    ]  # fmt: skip
    numbers = [number for each in launches for number in (each.blocks, each.threads, each.shared_bytes)]
    done = subprocess.run(
        [program],
        input=b"".join(
            [
                np.array([*numbers, seed, *(each.chunk for each in launches)], np.uint32).tobytes(),
                bytes(problem),
                np.array([batch], np.int32).tobytes(),
                *map(_bytes, (value, locations, weights, grad_output)),
            ]
        ),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    results, start = [], 0
    for shape, dtype in (
        (grad_output.shape, wanted.value), (value.shape, sum_type),
        (locations.shape, wanted.points), (weights.shape, wanted.points),
    ):  # fmt: skip
        stop = start + shape.numel() * dtype.itemsize
        results.append(torch.frombuffer(bytearray(done.stdout[start:stop]), dtype=dtype).view(shape))
        start = stop
    assert start == len(done.stdout)
    return tuple(results)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()
