"""The arithmetic of the CUDA kernels, run by a CPU as a GPU would: in blocks, warps and lanes, against float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.ops import plain
from tests.engine.ops import cuda_on_host
from tests.engine.ops.attention_problem import problem
from tests.engine.ops.cuda_on_host import Build, needs_compiler

pytestmark = needs_compiler

FLOAT, HALF, BFLOAT, DOUBLE = torch.float32, torch.float16, torch.bfloat16, torch.float64
SHAPES = ((4, 6), (2, 3), (1, 1))


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kernels")


def _solve(programs: Path, wanted: Build, given, **how):
    """Return what the kernels say, and the truth."""
    value, shapes, locations, weights = given
    given = (value.to(wanted.value), shapes, locations.to(wanted.points), weights.to(wanted.points))
    batch, queries, heads = weights.shape[:3]
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(batch, queries, heads * wanted.width, generator=generator, dtype=DOUBLE).to(wanted.value)
    ours = cuda_on_host.solve(cuda_on_host.build(wanted, programs), wanted, given, grad, **how)
    value, _, locations, weights = (tensor.double() for tensor in given)
    sizes = shapes.tolist()
    truth = plain.forward(value, sizes, locations, weights), *plain.backward(grad.double(), value, sizes, locations, weights)
    return ours, truth


def _agrees(ours, truth) -> bool:
    """Each result is wrong by its own rounding, not by that of its terms."""
    bounds = {DOUBLE: 2e-15, FLOAT: 2e-6, HALF: 2**-10, BFLOAT: 2**-7}
    return all(
        (result.double() - exact).abs().max() <= bounds[result.dtype] * exact.abs().max()
        for result, exact in zip(ours, truth, strict=True)
    )


@pytest.mark.slow  # a build each
@pytest.mark.parametrize(
    "wanted",
    [
        Build(),
        Build(vector_adds=True),
        Build(BFLOAT, FLOAT, 32, vector_adds=True),
        Build(HALF, HALF, 12),
        Build(BFLOAT, BFLOAT, 8),
        Build(DOUBLE, DOUBLE, 18),
        Build(FLOAT, FLOAT, 33),
        Build(FLOAT, FLOAT, 130, wide=True, vector_adds=True),
        Build(HALF, FLOAT, 256),
    ],
    ids=lambda build: build.name,
)
def test_agrees_with_double_precision(wanted: Build, programs: Path) -> None:
    given = problem(width=wanted.width, heads=3, queries=11, points=3, shapes=SHAPES, seed=wanted.width)
    assert _agrees(*_solve(programs, wanted, given))


@pytest.mark.parametrize(
    ("queries", "points"),
    [(1, 1), (4, 2), (5, 60), (70, 2)],  # one lane's work; whole warps; more points than are described at once; several blocks
)
@pytest.mark.parametrize("multiprocessors", [1, 132])  # blocks of several warps, and of one
def test_however_work_is_shared_out(queries: int, points: int, multiprocessors: int, programs: Path) -> None:
    given = problem(width=32, heads=2, batch=1, queries=queries, points=points, shapes=SHAPES, seed=queries)
    assert _agrees(*_solve(programs, Build(), given, multiprocessors=multiprocessors))


def test_results_do_not_depend_on_the_order_of_lanes(programs: Path) -> None:
    """A lane that reads what another has not written yet would show here."""
    given = problem(width=32, heads=2, queries=9, points=3, shapes=SHAPES)
    results = [_solve(programs, Build(), given, seed=seed)[0] for seed in range(4)]
    for other in results[1:]:
        for index, name in ((0, "output"), (2, "locations"), (3, "weights")):
            assert torch.equal(results[0][index], other[index]), name
        assert torch.allclose(results[0][1], other[1], rtol=1e-5, atol=1e-6)  # summed in another order


def test_points_on_the_rim_and_far_away(programs: Path) -> None:
    value, shapes, locations, weights = problem(width=32, shapes=((4, 8),), points=4)
    columns = torch.randint(-1, 9, locations.shape[:-1], generator=torch.Generator().manual_seed(3))
    locations[..., 0] = (columns + 0.5) / 8  # on the centres of pixels, and just outside
    locations[..., 1] = (columns.flip(0) % 5 + 0.5) / 4
    assert _agrees(*_solve(programs, Build(), (value, shapes, locations, weights)))
    for far in (1e30, -1e30, 3e9, 2.0):
        ours, _ = _solve(programs, Build(), (value, shapes, torch.full_like(locations, far), weights))
        assert all(result.count_nonzero() == 0 for result in ours)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_shows(broken: float, programs: Path) -> None:
    value, shapes, locations, weights = problem(batch=1, width=32)
    locations[0, 2, 1, 0, 0, 0] = broken
    (output, _, grad_locations, grad_weights), _ = _solve(programs, Build(), (value, shapes, locations, weights))
    assert output[0, 2, 32:].isnan().all() and output.isnan().sum() == 32
    assert grad_locations[0, 2, 1, 0, 0].isnan().all() and grad_locations.isnan().sum() == 2
    assert grad_weights[0, 2, 1, 0, 0].isnan() and grad_weights.isnan().sum() == 1
