"""Neighbourhood attention against its definition, computed query by query."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import ArgumentError
from engine.model.layers import neighborhood_attention as layer
from engine.model.layers.neighborhood_attention import NeighborhoodAttention, neighborhood_attention


def neighbours(position: int, length: int, kernel: int, dilation: int) -> list[int]:
    """The ``kernel`` nearest of the positions that are a multiple of ``dilation`` away."""
    mates = range(position % dilation, length, dilation)
    return sorted(sorted(mates, key=lambda mate: abs(mate - position))[:kernel])


def window(i: int, j: int, size: tuple[int, int], kernel: int, dilation: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Rows and columns of the neighbours of a position, and where their biases stand; each (kernel * kernel,)."""
    lines = [torch.tensor(neighbours(at, side, kernel, dilation)) for at, side in zip((i, j), size, strict=True)]
    rows, columns = torch.cartesian_prod(*lines).unbind(-1)
    return (rows, columns), ((rows - i) // dilation + kernel - 1, (columns - j) // dilation + kernel - 1)


def defined(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """Neighbourhood attention by the letter: (B, h, w, M, D) and (B, H, W, M, D) -> (B, h, w, M, D)."""
    result = torch.empty_like(query)
    for i in range(query.shape[1]):
        for j in range(query.shape[2]):
            (rows, columns), (down, right) = window(i, j, key.shape[1:3], (bias.shape[-1] + 1) // 2, dilation)
            scores = torch.einsum("bmd,bnmd->bmn", query[:, i, j], key[:, rows, columns]) * query.shape[-1] ** -0.5
            weights = (scores + bias[:, down, right]).softmax(-1)
            result[:, i, j] = torch.einsum("bmn,bnmd->bmd", weights, value[:, rows, columns])
    return result


def tensors(*size: int, queries: tuple[int, int] | None = None, kernel: int, dtype=torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(size[0] * 100 + size[1])
    shapes = [(2, *(queries or size), 3, 4), (2, *size, 3, 4), (2, *size, 3, 4), (3, 2 * kernel - 1, 2 * kernel - 1)]
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize(
    ("size", "kernel", "dilation"),
    [
        ((3, 3), 3, 1),  # the window is the map
        ((7, 12), 5, 1),
        ((21, 34), 3, 1),  # several tiles along both axes
        ((33, 18), 7, 1),
        ((6, 9), 3, 2),  # as many positions as a window takes
        ((13, 17), 3, 4),  # lines of unequal length
        ((26, 41), 3, 2),  # tiles and dilation
        ((15, 23), 5, 3),
    ],
)
def test_it_is_what_the_definition_says(size: tuple[int, int], kernel: int, dilation: int) -> None:
    inputs = tensors(*size, kernel=kernel)
    torch.testing.assert_close(neighborhood_attention(*inputs, dilation=dilation), defined(*inputs, dilation))


@given(
    kernel=st.sampled_from([3, 5]),
    dilation=st.integers(1, 3),
    more=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    data=st.data(),
)
def test_the_first_queries_of_any_map_are_what_the_definition_says(
    kernel: int, dilation: int, more: tuple[int, int], data: st.DataObject
) -> None:
    size = tuple(kernel * dilation + extra for extra in more)
    queries = tuple(data.draw(st.integers(1, side)) for side in size)
    inputs = tensors(*size, queries=queries, kernel=kernel)
    torch.testing.assert_close(neighborhood_attention(*inputs, dilation=dilation), defined(*inputs, dilation))


@pytest.mark.parametrize(("size", "dilation"), [((5, 4), 1), ((7, 6), 2)])
def test_gradients_are_those_of_the_function(size: tuple[int, int], dilation: int) -> None:
    inputs = [each.requires_grad_() for each in tensors(*size, kernel=3)]
    assert torch.autograd.gradcheck(lambda *args: neighborhood_attention(*args, dilation=dilation), inputs, fast_mode=True)


def test_gradients_agree_with_the_definition() -> None:
    inputs = [each.requires_grad_() for each in tensors(19, 23, kernel=3)]
    ours, theirs = (
        torch.autograd.grad(attended.square().sum(), inputs)
        for attended in (neighborhood_attention(*inputs, dilation=2), defined(*inputs, 2))
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("size", "dilation"), [((3, 2), 1), ((4, 9), 2), ((20, 5), 3), ((1, 1), 1)])
def test_a_map_smaller_than_a_window_is_padded_with_zeros_that_are_attended_to(size: tuple[int, int], dilation: int) -> None:
    torch.manual_seed(0)
    attention = NeighborhoodAttention(12, heads=3, kernel=5, dilation=dilation).double()
    torch.nn.init.normal_(attention.rpb)
    torch.nn.init.normal_(attention.qkv.bias)
    x = torch.randn(2, *size, 12, dtype=torch.float64)
    padded = torch.zeros(2, *(max(side, 5 * dilation) for side in size), 12, dtype=torch.float64)
    padded[:, : size[0], : size[1]] = x
    query, key, value = attention.qkv(padded).unflatten(-1, (3, 3, 4)).unbind(-3)
    expected = attention.proj(defined(query, key, value, attention.rpb, dilation).flatten(-2))[:, : size[0], : size[1]]
    found = attention(x)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(each.square().sum(), tuple(attention.parameters())) for each in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_without_gradients_it_is_the_same_in_float32() -> None:
    inputs = tensors(20, 31, kernel=5, dtype=torch.float32)
    with torch.inference_mode():
        found = neighborhood_attention(*inputs, dilation=2)
    torch.testing.assert_close(found, defined(*inputs, 2), rtol=1e-4, atol=1e-5)
    inputs[3].requires_grad_()  # what was prepared in inference mode has to do for training
    neighborhood_attention(*inputs, dilation=2).sum().backward()
    assert inputs[3].grad.isfinite().all()


@pytest.mark.parametrize("dilation", [1, 3])
def test_work_grows_with_the_map_and_not_with_its_square(dilation: int) -> None:
    flops = []
    for side in (48, 96):
        query, key, value, bias = tensors(side, side, kernel=5, dtype=torch.float32)
        with FlopCounterMode(display=False) as counter:
            neighborhood_attention(query, key, value, bias.requires_grad_(), dilation=dilation)
        flops.append(counter.get_total_flops())
    assert 0 < flops[1] < 6 * flops[0]  # 4 times as many positions, fewer of them at a border; the square would be 16
    least = 2 * 2 * 96 * 96 * 25 * query.shape[0] * 3 * 4  # every query with every key of its window, twice
    assert flops[1] < 8 * least


@pytest.mark.parametrize(("size", "queries"), [((8, 9), (8, 9)), ((20, 20), (21, 20))])
def test_too_small_a_map_or_too_many_queries_are_refused(size: tuple[int, int], queries: tuple[int, int]) -> None:
    with pytest.raises(ArgumentError, match=r"window of 3 x 3 with dilation 3 takes 9 cells"):
        neighborhood_attention(*tensors(*size, queries=queries, kernel=3), dilation=3)


@pytest.fixture
def install_natten(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put a package natten in place whose functional module has these functions."""

    def install(**functions: Callable[..., Tensor]) -> None:
        package = ModuleType("natten")
        package.functional = SimpleNamespace(**functions)
        monkeypatch.setitem(sys.modules, "natten", package)
        monkeypatch.setitem(sys.modules, "natten.functional", package.functional)

    layer._natten.cache_clear()
    yield install
    layer._natten.cache_clear()


def _scores(query: Tensor, key: Tensor, bias: Tensor, kernel: int, dilation: int) -> Tensor:
    """natten's first half: scores (B, M, H, W, kernel * kernel) of (B, M, H, W, D)."""
    result = query.new_zeros(*query.shape[:4], kernel * kernel)
    for i in range(key.shape[2]):
        for j in range(key.shape[3]):
            (rows, columns), (down, right) = window(i, j, key.shape[2:4], kernel, dilation)
            result[:, :, i, j] = (query[:, :, i, j, None] * key[:, :, rows, columns]).sum(-1) + bias[:, down, right]
    return result


def _attended(weights: Tensor, value: Tensor, kernel: int, dilation: int) -> Tensor:
    """natten's second half."""
    result = torch.zeros_like(value)
    for i in range(value.shape[2]):
        for j in range(value.shape[3]):
            (rows, columns), _ = window(i, j, value.shape[2:4], kernel, dilation)
            result[:, :, i, j] = (weights[:, :, i, j, :, None] * value[:, :, rows, columns]).sum(-2)
    return result


def _without_bias(query: Tensor, key: Tensor, bias: Tensor, kernel: int, dilation: int) -> Tensor:
    return _scores(query, key, torch.zeros_like(bias), kernel, dilation)


def test_natten_is_used_under_both_of_its_interfaces_where_it_agrees(install_natten) -> None:
    inputs = tensors(9, 8, queries=(7, 8), kernel=3, dtype=torch.float32)
    for functions in (
        {"natten2dqkrpb": _scores, "natten2dav": _attended},
        {"na2d_qk": lambda q, k, kernel, dilation, *, rpb: _scores(q, k, rpb, kernel, dilation), "na2d_av": _attended},
    ):
        install_natten(**functions)
        layer._natten.cache_clear()
        kernels = layer._natten("cpu", torch.float32)
        torch.testing.assert_close(kernels(*inputs, 2), defined(*inputs, 2), rtol=1e-4, atol=1e-5)


def test_natten_is_left_alone_where_it_is_missing_or_something_else(install_natten, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "natten", None)
    assert layer._natten("cpu", torch.float32) is None
    for functions in ({"natten2dqkrpb": _without_bias, "natten2dav": _attended}, {"na2d": _scores}):
        install_natten(**functions)
        layer._natten.cache_clear()
        assert layer._natten("cpu", torch.float32) is None
