"""The operator: against the official numbers, its own derivatives, and what torch asks of a registered operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.ops import ms_deform_attn

PARITY = Path(__file__).parents[3] / "shared" / "parity" / "ms_deform_attn_op.npz"


def _problem(*, dtype=torch.float64, batch=2, queries=5, heads=2, width=4, points=3, shapes=((4, 6), (2, 3)), seed=0):
    generator = torch.Generator().manual_seed(seed)
    length = sum(h * w for h, w in shapes)
    value = torch.randn(batch, length, heads, width, generator=generator, dtype=dtype)
    # some of the points lie outside the map
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2, generator=generator, dtype=dtype) * 1.6 - 0.3
    weights = torch.rand(batch, queries, heads, len(shapes), points, generator=generator, dtype=dtype)
    return value, torch.tensor(shapes), locations, weights


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


@pytest.mark.skipif(not PARITY.is_file(), reason="no ../shared/parity: the official numbers are not here")
@pytest.mark.parametrize("case", ["A", "B", "C"])
def test_agrees_with_the_official_numbers(case: str) -> None:
    golden = np.load(PARITY)
    names = ("value", "loc", "weight")
    value, locations, weights = (torch.from_numpy(golden[f"{case}_{n}"]).requires_grad_() for n in names)
    output = ms_deform_attn(value, torch.from_numpy(golden[f"{case}_shapes"]), locations, weights)
    output.backward(torch.from_numpy(golden[f"{case}_grad_out"]))
    assert np.allclose(output.detach(), golden[f"{case}_out"], rtol=1e-10, atol=1e-12)
    for tensor, name in zip((value, locations, weights), names, strict=True):
        assert np.allclose(tensor.grad, golden[f"{case}_grad_{name}"], rtol=1e-9, atol=1e-11)


def test_is_the_equation_of_the_paper() -> None:
    problem = _problem()
    assert torch.allclose(ms_deform_attn(*problem), _by_hand(*problem), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("batch", [1, 3])
def test_derivatives(queries: int, batch: int) -> None:
    value, shapes, locations, weights = _problem(queries=queries, batch=batch, seed=queries + batch)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    assert torch.autograd.gradcheck(lambda v, x, w: ms_deform_attn(v, shapes, x, w), inputs)


def test_no_query_gives_no_output() -> None:
    value, shapes, locations, weights = _problem()
    assert ms_deform_attn(value, shapes, locations[:, :0], weights[:, :0]).shape == (2, 0, 8)


def test_registration_holds() -> None:
    """Schema, fake function, autograd and tracing, as torch's own checker sees them."""
    value, shapes, locations, weights = _problem(dtype=torch.float32)
    inputs = (value.requires_grad_(), shapes, locations.requires_grad_(), weights.requires_grad_())
    torch.library.opcheck(torch.ops.maskdino.ms_deform_attn.default, inputs)


def test_compiles_without_a_graph_break() -> None:
    problem = _problem(dtype=torch.float32)
    compiled = torch.compile(ms_deform_attn, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(*problem), ms_deform_attn(*problem))


def test_autocast_keeps_single_precision() -> None:
    problem = _problem(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = ms_deform_attn(problem[0].bfloat16(), problem[1], problem[2], problem[3].bfloat16())
    assert output.dtype == torch.float32


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    value, shapes, locations, weights = _problem()
    with pytest.raises(ValueError, match="cover 25 positions, but value has 30"):
        ms_deform_attn(value, torch.tensor([[4, 6], [1, 1]]), locations, weights)
    with pytest.raises(ValueError, match="do not fit value"):
        ms_deform_attn(value, shapes, locations[:, :, :1], weights)
