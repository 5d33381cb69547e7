"""What the CUDA kernels of the attention operator are given: the problem as they lay it out, and how work is shared out.

Both mirror engine/csrc/ms_deform_attn.cuh, which says what the fields mean.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LEVELS = 16
MAX_POINTS = 1000  # a level; beyond it `reciprocal` is not exact
_WARP = 32
_MOST_WARPS = 8  # of a block
_SHARED_BYTES_A_WARP = 6144  # 48 KiB a block, which every GPU grants without being asked


class Level(ctypes.Structure):
    """The size of a level and its first position."""

    _fields_ = [(name, ctypes.c_int) for name in ("rows", "columns", "start")]


class Problem(ctypes.Structure):
    """The one argument of a kernel."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in (
                "value",
                "locations",
                "weights",
                "output",
                "grad_output",
                "grad_value",
                "grad_locations",
                "grad_weights",
            )
        ),
        *((name, ctypes.c_int) for name in ("positions", "heads", "queries", "points")),
        ("reciprocal", ctypes.c_uint),
        ("chunk", ctypes.c_int),
        ("levels", Level * MAX_LEVELS),
    ]


def problem_of(*, shapes: Sequence[Sequence[int]], heads: int, queries: int, points_a_level: int) -> Problem:
    """Fill in what does not depend on where tensors are, nor on the pass."""
    problem = Problem(heads=heads, queries=queries, points=len(shapes) * points_a_level)
    problem.reciprocal = -(-(1 << 24) // points_a_level)
    for level, (rows, columns) in zip(problem.levels, shapes, strict=False):  # there is room for more levels
        level.rows, level.columns, level.start = rows, columns, problem.positions
        problem.positions += rows * columns
    return problem


@dataclass(frozen=True)
class Launch:
    """How a pass is shared out over a GPU."""

    blocks: int
    threads: int
    shared_bytes: int
    chunk: int  # points of a row that are described at once


def launch_for(
    problem: Problem,
    *,
    batch: int,
    width: int,
    vector_bytes: int,
    sum_bytes: int,
    index_bytes: int,
    backward: bool,
    multiprocessors: int,
) -> Launch:
    """Share a pass out: big blocks, whose queries find what their neighbours read, but enough of them for the whole GPU.

    Args:
        problem: as `problem_of` fills it in.
        batch: images.
        width: channels of a head.
        vector_bytes: of a channel in what a lane loads 16 bytes of: value forward, the gradient of value backward.
        sum_bytes: of a sum.
        index_bytes: of an index into an image's value, 4 or 8.
        backward: this is the backward pass.
        multiprocessors: of the GPU.
    """
    rows_a_warp = _WARP // _lanes(width, vector_bytes)
    entry = 4 * (index_bytes + sum_bytes * (2 if backward else 1))
    stride = _SHARED_BYTES_A_WARP // (rows_a_warp * entry)
    longest = stride if stride % 2 else stride - 1  # the stride is the next odd number
    chunk = min(problem.points, longest)
    chunk = -(-problem.points // -(-problem.points // chunk))  # chunks of about one length
    warps = _MOST_WARPS
    while warps > 1 and _blocks(problem, batch, rows_a_warp * warps) < 2 * multiprocessors:
        warps //= 2
    return Launch(
        blocks=_blocks(problem, batch, rows_a_warp * warps),
        threads=_WARP * warps,
        shared_bytes=warps * rows_a_warp * (chunk | 1) * entry,
        chunk=chunk,
    )


def _lanes(width: int, vector_bytes: int) -> int:
    """Count the lanes that a row's channels lie over."""
    vector = 16 // vector_bytes
    while width % vector:
        vector //= 2
    lanes = 1
    while lanes < _WARP and lanes < width // vector:
        lanes *= 2
    return lanes


def _blocks(problem: Problem, batch: int, rows: int) -> int:
    return batch * problem.heads * -(-problem.queries // rows)
