"""The operator, with each kernel: the official numbers, its own derivatives, and what torch asks of a registered operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.ops import ms_deform_attn
from tests.engine.ops.attention_problem import KERNELS, problem
from tests.goldens.recordings import BESIDE, HERE

SMALL = HERE / "ms_deform_attn_op.npz"
WHOLE = BESIDE / SMALL.name  # all heads of case B


@pytest.fixture(params=KERNELS, autouse=True)
def kernel(request, monkeypatch) -> str:
    monkeypatch.setenv("MASKDINO_KERNEL", request.param)
    return request.param


def _by_hand(value, shapes, locations, weights):
    """Equation 3 of the paper, one sample at a time."""
    batch, queries, heads, levels, points = weights.shape
    output = torch.zeros(batch, queries, heads, value.shape[-1], dtype=value.dtype)
    starts = [0, *np.cumsum([h * w for h, w in shapes.tolist()])]
    for b, q, m, level, p in np.ndindex(batch, queries, heads, levels, points):
        height, width = shapes[level].tolist()
        x = locations[b, q, m, level, p, 0].item() * width - 0.5
        y = locations[b, q, m, level, p, 1].item() * height - 0.5
        for row in (int(np.floor(y)), int(np.floor(y)) + 1):
            for column in (int(np.floor(x)), int(np.floor(x)) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    sample = value[b, starts[level] + row * width + column, m]
                    output[b, q, m] += weights[b, q, m, level, p] * share * sample
    return output.flatten(2)


@pytest.mark.parametrize("recording", [SMALL, *([WHOLE] if WHOLE.is_file() else [])], ids=lambda path: path.parent.name)
@pytest.mark.parametrize("case", ["A", "B", "C"])
def test_agrees_with_the_official_numbers(recording: Path, case: str) -> None:
    """Outputs and gradients of the official code in float64; tests/goldens/README.md says more."""
    golden = np.load(recording)
    names = ("value", "loc", "weight")
    value, locations, weights = (torch.from_numpy(golden[f"{case}_{n}"]).requires_grad_() for n in names)
    output = ms_deform_attn(value, torch.from_numpy(golden[f"{case}_shapes"]), locations, weights)
    output.backward(torch.from_numpy(golden[f"{case}_grad_out"]))
    assert np.allclose(output.detach(), golden[f"{case}_out"], rtol=1e-10, atol=1e-12)
    for tensor, name in zip((value, locations, weights), names, strict=True):
        assert np.allclose(tensor.grad, golden[f"{case}_grad_{name}"], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("width", [1, 4, 32])
def test_is_the_equation_of_the_paper(width: int) -> None:
    given = problem(width=width)
    assert torch.allclose(ms_deform_attn(*given), _by_hand(*given), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("queries", "batch", "width"), [(1, 1, 4), (5, 3, 4), (2, 1, 18)])
def test_derivatives(queries: int, batch: int, width: int) -> None:
    value, shapes, locations, weights = problem(queries=queries, batch=batch, width=width, seed=queries + batch)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    assert torch.autograd.gradcheck(lambda v, x, w: ms_deform_attn(v, shapes, x, w), inputs)


def test_no_query_gives_no_output() -> None:
    value, shapes, locations, weights = problem()
    value.requires_grad_()
    output = ms_deform_attn(value, shapes, locations[:, :0], weights[:, :0])
    assert output.shape == (2, 0, 8)
    output.sum().backward()
    assert value.grad.count_nonzero() == 0


def test_no_image_gives_no_output() -> None:
    value, shapes, locations, weights = problem()
    assert ms_deform_attn(value[:0], shapes, locations[:0], weights[:0]).shape == (0, 5, 8)


@pytest.mark.parametrize("shapes", [((4, 6), (0, 3)), ((0, 0), (4, 6))])
def test_an_empty_level_adds_nothing(shapes) -> None:
    value, _, locations, weights = problem(shapes=shapes)
    full = shapes.index((4, 6))
    expected = ms_deform_attn(value, torch.tensor([[4, 6]]), locations[:, :, :, [full]], weights[:, :, :, [full]])
    assert torch.allclose(ms_deform_attn(value, torch.tensor(shapes), locations, weights), expected)


def test_points_outside_read_nothing_and_learn_nothing() -> None:
    value, shapes, locations, weights = problem()
    far = (locations + 2).requires_grad_()
    output = ms_deform_attn(value, shapes, far, weights.requires_grad_())
    output.sum().backward()
    assert output.count_nonzero() == far.grad.count_nonzero() == weights.grad.count_nonzero() == 0


@pytest.mark.parametrize("location", [float("nan"), float("inf"), -float("inf")])
def test_a_location_that_is_not_finite_shows(location: float) -> None:
    """A model that diverges must not look as if it attended to nothing."""
    value, shapes, locations, weights = problem(batch=1)
    locations[0, 2, 1, 0, 0, 0] = location
    output = ms_deform_attn(value, shapes, locations, weights)
    assert output[0, 2, 4:].isnan().all()
    assert output.isnan().sum() == 4


@pytest.mark.parametrize("location", [1e30, -1e30, 3e9])
def test_a_location_far_away_reads_nothing(location: float) -> None:
    value, shapes, locations, weights = problem(batch=1)
    locations[0, 2] = location
    output = ms_deform_attn(value, shapes, locations, weights)
    assert output[0, 2].count_nonzero() == 0 and output.isfinite().all()


def test_inputs_need_not_be_contiguous() -> None:
    value, shapes, locations, weights = problem()
    expected = ms_deform_attn(value, shapes, locations, weights)
    strided = [
        value.transpose(1, 3).contiguous().transpose(1, 3),
        shapes.t().contiguous().t(),
        locations.flip(1).flip(1).transpose(0, 2).contiguous().transpose(0, 2),
        weights.repeat_interleave(2, -1)[..., ::2],
    ]
    assert not any(tensor.is_contiguous() for tensor in strided)
    assert torch.equal(ms_deform_attn(*strided), expected)
    broadcast = value[:, :1].expand_as(value).requires_grad_()
    ms_deform_attn(broadcast, shapes, locations, weights).sum().backward()  # the gradient of a sum is a broadcast one
    assert broadcast.grad.isfinite().all()


def test_registration_holds() -> None:
    """Schema, fake function, autograd and tracing, as torch's own checker sees them."""
    value, shapes, locations, weights = problem(dtype=torch.float32)
    inputs = (value.requires_grad_(), shapes, locations.requires_grad_(), weights.requires_grad_())
    torch.library.opcheck(torch.ops.maskdino.ms_deform_attn.default, inputs)


def test_compiles_without_a_graph_break() -> None:
    given = problem(dtype=torch.float32)
    compiled = torch.compile(ms_deform_attn, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(*given), ms_deform_attn(*given))


def test_autocast_leaves_locations_exact() -> None:
    """They lose whole pixels in half precision on large maps."""
    value, shapes, locations, weights = problem(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        projected = torch.nn.functional.linear(value, torch.eye(4))  # as a layer before it leaves it
        output = ms_deform_attn(projected, shapes, locations, weights)
    assert projected.dtype == output.dtype == torch.bfloat16
    exact = ms_deform_attn(value.bfloat16().float(), shapes, locations, weights)
    assert torch.equal(output, exact.bfloat16())


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    value, shapes, locations, weights = problem()
    with pytest.raises(ValueError, match="cover 25 positions, but value has 30"):
        ms_deform_attn(value, torch.tensor([[4, 6], [1, 1]]), locations, weights)
    with pytest.raises(ValueError, match="do not fit value"):
        ms_deform_attn(value, shapes, locations[:, :, :1], weights)
