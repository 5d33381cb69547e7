"""Neighbourhood attention: every position of a map attends to the window of positions around it.

Computed in plain PyTorch. The queries are cut into tiles; the windows of a tile overlap, so that it attends to one rectangle
of keys with the bias as a mask. Time and memory grow with the map and with the window, not with the square of the map.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import ArgumentError

log = logging.getLogger(__name__)

_TILE = 8  # queries along each side of a tile, at least: smaller ones multiply slowly, larger ones see more outside the windows


class NeighborhoodAttention(nn.Module):
    """Dilated neighbourhood attention (arXiv 2204.07143, 2209.15001) with a bias for each relative position.

    A map that is smaller than a window, ``kernel * dilation`` cells, is taken as padded with zeros at the right and bottom. The
    padding is attended to, as in the published models.
    """

    def __init__(self, dim: int, *, heads: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.heads, self.kernel, self.dilation = heads, kernel, dilation
        self.qkv = nn.Linear(dim, 3 * dim)
        self.rpb = nn.Parameter(torch.empty(heads, 2 * kernel - 1, 2 * kernel - 1))  # the relative position biases
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.rpb, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        height, width = x.shape[1:3]
        window = self.kernel * self.dilation
        qkv = self.qkv(x)
        query = qkv[..., : x.shape[-1]]
        if height < window or width < window:
            # Of a zero a linear layer makes its bias.
            padded = self.qkv.bias.to(qkv).expand(len(x), max(height, window), max(width, window), -1).clone()
            padded[:, :height, :width] = qkv
            qkv = padded
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)) for each in (query, *qkv.tensor_split(3, dim=-1)[1:])
        )  # (B, H, W, M, C/M)
        attended = neighborhood_attention(query, key, value, self.rpb, dilation=self.dilation)
        return self.proj(attended.flatten(-2))


def neighborhood_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, dilation: int = 1) -> Tensor:
    """Attend from each position of a map to the ``kernel`` x ``kernel`` positions around it, ``dilation`` apart.

    Along each axis the positions that can see each other are those that are a multiple of ``dilation`` apart. The window of one
    is the ``kernel`` nearest of them; it is centred except at a border, where it moves inwards.

    Args:
        query: (B, h, w, M, D), of M heads: of the first h rows and w columns of the map.
        key, value: (B, H, W, M, D), H and W at least ``kernel * dilation``.
        bias: (M, 2 * kernel - 1, 2 * kernel - 1), added to the scores: at [M, kernel - 1 + i, kernel - 1 + j] what belongs to a
            key that is i * dilation rows and j * dilation columns after its query.

    Returns:
        (B, h, w, M, D).

    Raises:
        ArgumentError: the map is smaller than a window, or there are more queries than positions.
    """
    size, asked, kernel = tuple(key.shape[1:3]), tuple(query.shape[1:3]), (bias.shape[-1] + 1) // 2
    if min(size) < kernel * dilation or any(part > whole for part, whole in zip(asked, size, strict=True)):
        raise ArgumentError(
            f"Neighbourhood attention of {asked[0]} x {asked[1]} queries was asked for on a map of {size[0]} x {size[1]}.",
            hint=f"A window of {kernel} x {kernel} with dilation {dilation} takes {kernel * dilation} cells: pad the map.",
        )
    attend = _attend_in_tiles
    # Not on a CPU: there natten's kernels are loops over single positions, and the tiles are products of matrices.
    if query.device.type == "cuda" and not torch.compiler.is_compiling():
        attend = _natten(query.device.type, query.dtype) or attend
    return attend(query, key, value, bias, dilation)


def _attend_in_tiles(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dilation: int) -> Tensor:
    heads, kernel = len(bias), (bias.shape[-1] + 1) // 2
    blocks, order = _plan(tuple(query.shape[1:3]), tuple(key.shape[1:3]), kernel, dilation, query.device)
    outside = bias.new_full((heads, 1), -torch.inf)
    biases = torch.cat([bias.flatten(1), outside], dim=1).to(query.dtype)
    tokens = [each.flatten(1, 2) for each in (query, key, value)]  # (B, H*W, M, D)
    attended = []
    for block in blocks:
        parts = [_gather(each, index) for each, index in zip(tokens, (block.queries, block.keys, block.keys), strict=True)]
        found = F.scaled_dot_product_attention(*parts, attn_mask=biases[:, block.biases][None])  # (B*tiles, M, T, D)
        attended.append(found.transpose(1, 2).reshape(len(query), -1, heads, query.shape[-1]))
    return torch.cat(attended, dim=1).index_select(1, order).view_as(query)


def _gather(tokens: Tensor, index: Tensor) -> Tensor:
    """Take tokens (B, N, M, D) at (tiles, T): (B*tiles, M, T, D)."""
    return tokens.index_select(1, index.flatten()).unflatten(1, index.shape).flatten(0, 1).transpose(1, 2)


class _Block(NamedTuple):
    """Tiles whose queries see their keys with the same biases.

    Attributes:
        queries: (tiles, T) and
        keys: (tiles, S), positions in the map as they are counted row by row.
        biases: (T, S), positions in the flattened biases; one beyond them where a key is outside of the query's window.
    """

    queries: Tensor
    keys: Tensor
    biases: Tensor


@functools.lru_cache(maxsize=64)  # a DiNAT-L needs 9 for each size of image
def _plan(
    asked: tuple[int, int], size: tuple[int, int], kernel: int, dilation: int, device: torch.device
) -> tuple[list[_Block], Tensor]:
    """Cut a map into tiles; returns also where each query's result stands among those of all blocks."""
    with torch.inference_mode(False):  # training may use it, too
        side = 2 * kernel - 1
        rows, columns = (list(_line(a, s, kernel, dilation)) for a, s in zip(asked, size, strict=True))
        blocks = []
        for row_queries, row_keys, row_biases in rows:
            for column_queries, column_keys, column_biases in columns:
                outside = _paired(row_biases, column_biases, lambda row, column: (row < 0) | (column < 0))
                biases = _paired(row_biases, column_biases, lambda row, column: side * row + column)
                blocks.append(
                    _Block(
                        _paired(row_queries, column_queries, lambda row, column: asked[1] * row + column).to(device),
                        _paired(row_keys, column_keys, lambda row, column: size[1] * row + column).to(device),
                        biases.masked_fill(outside, side * side).to(device),
                    )
                )
        return blocks, torch.cat([block.queries.flatten() for block in blocks]).argsort()


def _paired(rows: Tensor, columns: Tensor, pair: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Pair each entry of (A, B) with each of (C, D): (A*C, B*D)."""
    return pair(rows[:, None, :, None], columns[None, :, None, :]).flatten(2).flatten(0, 1)


def _line(asked: int, length: int, kernel: int, dilation: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cut a line of positions into tiles, those with the same biases together.

    Yields:
        Queries (tiles, T), keys (tiles, S) and the bias of each pair (T, S), -1 where the key is outside of the window.
    """
    alike = defaultdict(list)
    for first in range(min(dilation, asked)):
        members = torch.arange(first, length, dilation)
        queries = torch.arange(len(range(first, asked, dilation)))
        for tile in queries.tensor_split(max(1, len(queries) // _TILE)):
            starts = (tile - kernel // 2).clamp(0, len(members) - kernel)[:, None]
            keys = torch.arange(int(starts[0]), int(starts[-1]) + kernel)
            biases = torch.where((keys >= starts) & (keys < starts + kernel), keys - tile[:, None] + kernel - 1, -1)
            alike[tuple(map(tuple, biases.tolist()))].append((members[tile], members[keys]))
    for biases, tiles in alike.items():
        queries, keys = zip(*tiles, strict=True)
        yield torch.stack(queries), torch.stack(keys), torch.tensor(biases)


@functools.cache
def _natten(device: str, dtype: torch.dtype) -> Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor] | None:
    """Return the kernels of the package natten if it is installed and gives the same results and gradients on a small map.

    Versions 0.14 to 0.17 have position biases; later ones do not.
    """
    try:
        functional = importlib.import_module("natten.functional")
    except ImportError:
        return None
    attend = functools.partial(_attend_by_natten, functional)
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 9, 7, 2, 16), (1, 9, 7, 2, 16), (1, 9, 7, 2, 16), (2, 5, 5))
    with torch.inference_mode(False), torch.enable_grad():
        inputs = [torch.randn(shape, generator=generator).to(device, dtype).requires_grad_() for shape in shapes]
        try:
            results = [
                (found, *torch.autograd.grad(found.square().sum(), inputs))
                for found in (attend(*inputs, 2), _attend_in_tiles(*inputs, 2))
            ]
            torch.testing.assert_close(*results)
        except (AssertionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            log.info("natten is installed, but not used (%s: %s).", type(error).__name__, str(error).partition("\n")[0])
            return None
    return attend


def _attend_by_natten(functional: object, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dilation: int) -> Tensor:
    (rows, columns), kernel = query.shape[1:3], (bias.shape[-1] + 1) // 2
    scaled = F.pad(query * query.shape[-1] ** -0.5, (0, 0, 0, 0, 0, key.shape[2] - columns, 0, key.shape[1] - rows))
    query, key, value = (each.permute(0, 3, 1, 2, 4).contiguous() for each in (scaled, key, value))  # (B, M, H, W, D)
    bias = bias.to(query.dtype)
    if hasattr(functional, "natten2dqkrpb"):
        scores = functional.natten2dqkrpb(query, key, bias, kernel, dilation)
        attended = functional.natten2dav(scores.softmax(-1), value, kernel, dilation)
    else:  # under the names of 0.17.5
        scores = functional.na2d_qk(query, key, kernel, dilation, rpb=bias)
        attended = functional.na2d_av(scores.softmax(-1), value, kernel, dilation)
    return attended.permute(0, 2, 3, 1, 4)[:, :rows, :columns]
