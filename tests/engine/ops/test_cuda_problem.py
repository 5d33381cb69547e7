"""How the work of the CUDA kernels is shared out."""

from __future__ import annotations

import numpy as np
import pytest

from engine.ops.cuda_problem import MAX_LEVELS, MAX_POINTS, launch_for, problem_of


def test_the_level_of_a_point_is_found_without_a_division() -> None:
    for points_a_level in range(1, MAX_POINTS + 1):
        reciprocal = problem_of(shapes=[[1, 1]], heads=1, queries=1, points_a_level=points_a_level).reciprocal
        points = np.arange(MAX_LEVELS * points_a_level, dtype=np.uint64)
        assert int(points[-1]) * reciprocal < 2**32
        assert np.array_equal(points * np.uint64(reciprocal) >> np.uint64(24), points // points_a_level)


def test_levels_lie_one_after_the_other() -> None:
    problem = problem_of(shapes=[[4, 6], [2, 3], [1, 1]], heads=1, queries=1, points_a_level=4)
    assert [(level.rows, level.columns, level.start) for level in problem.levels[:3]] == [(4, 6, 0), (2, 3, 24), (1, 1, 30)]
    assert (problem.positions, problem.points) == (31, 12)


@pytest.mark.parametrize("width", [1, 8, 18, 32, 33, 128, 256])
@pytest.mark.parametrize("sum_bytes", [4, 8])
@pytest.mark.parametrize("points_a_level", [1, 4, 50])
@pytest.mark.parametrize("backward", [False, True])
def test_every_gpu_grants_what_a_launch_asks_for(width: int, sum_bytes: int, points_a_level: int, backward: bool) -> None:
    problem = problem_of(shapes=[[8, 8]] * 4, heads=8, queries=300, points_a_level=points_a_level)
    for vector_bytes in (2, 4) if sum_bytes == 4 else (8,):
        for index_bytes in (4, 8):
            launch = launch_for(
                problem, batch=2, width=width, vector_bytes=vector_bytes, sum_bytes=sum_bytes, index_bytes=index_bytes,
                backward=backward, multiprocessors=132,
            )  # fmt: skip
            assert 1 <= launch.chunk <= problem.points
            assert launch.threads % 32 == 0 and 32 <= launch.threads <= 256
            assert 0 < launch.shared_bytes <= 48 * 1024


def test_a_small_problem_is_cut_smaller_so_that_all_multiprocessors_have_work() -> None:
    def launch(queries: int, batch: int):
        return launch_for(
            problem_of(shapes=[[8, 8]], heads=8, queries=queries, points_a_level=4), batch=batch, width=32, vector_bytes=4,
            sum_bytes=4, index_bytes=4, backward=False, multiprocessors=132,
        )  # fmt: skip

    decoder, encoder = launch(queries=300, batch=1), launch(queries=5440, batch=8)
    assert decoder.threads < encoder.threads == 256
    assert decoder.blocks >= 132
