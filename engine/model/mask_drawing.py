"""Masks at the size of the image, from logits at a quarter of it: enlarged only where there is something to see.

A building covers a small part of a tile, and its mask is empty elsewhere. The map is cut into blocks of 8 x 8 cells; those
in or beside which no logit is positive stay empty when they are enlarged. On a CPU they are left out, and the others are
enlarged a few at a time, in the processor's cache. On a GPU all are enlarged, as the host would have to wait for it to learn
which to leave out, and one bit per pixel is kept of each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model.host_transfer import pack_bits
from engine.model.layers.cached_constants import cached

STRIDE = 4  # pixels a cell
_CELLS = 8  # side of a block
_SIDE = _CELLS * STRIDE  # pixels
_AT_ONCE = {"cpu": 256}  # blocks; 1 MB of float32
_AT_ONCE_ELSEWHERE = 2**15  # 134 MB


class EnlargedMasks:
    """Masks of images of one size, enlarged bilinearly (``align_corners=False``) and cut to that size.

    Args:
        logits: (N, h, w) over the padded images.
        image_size: height and width of the images, in pixels.
        skip_empty: leave out the blocks in which there is nothing to see; the host waits until the device knows them.
        packed: keep the masks as bits.
    """

    def __init__(self, logits: Tensor, image_size: tuple[int, int], *, skip_empty: bool, packed: bool) -> None:
        self._image_size = image_size
        height, width = logits.shape[1:]
        # Beyond its edges a map goes on as it ends: to whole blocks, and by the cell that a block sees of its neighbours.
        padded = F.pad(logits.float()[:, None], (1, 1 + -width % _CELLS, 1, 1 + -height % _CELLS), mode="replicate")[:, 0]
        view = padded.unfold(1, _CELLS + 2, _CELLS).unfold(2, _CELLS + 2, _CELLS)  # (N, h/8, w/8, 10, 10)
        self._grid = tuple(view.shape[:3])
        # mask, row and column of each block
        self._places = _seen_blocks(padded) if skip_empty else _all_blocks(self._grid, logits.device)
        at_once = _AT_ONCE.get(logits.device.type, _AT_ONCE_ELSEWHERE)
        nothing = padded.new_zeros(0)
        blocks, sums, areas = [_as_kept(nothing.bool().view(0, _SIDE, _SIDE), packed)], [nothing], [nothing]
        for places in zip(*(place.split(at_once) for place in self._places), strict=True):
            enlarged = self._without_padding(_enlarge(view[places]), places)
            inside = enlarged > 0
            blocks.append(_as_kept(inside, packed))
            sums.append((enlarged.sigmoid() * inside).sum((1, 2)))
            areas.append(inside.sum((1, 2)).to(padded))
        self._blocks = torch.cat(blocks)
        total, area = (
            padded.new_zeros(len(logits)).index_add_(0, self._places[0], torch.cat(parts)) for parts in (sums, areas)
        )
        self.certainty = total / (area + 1e-6)
        """(N,) the mean probability inside each mask; 0 where it is empty."""

    def masks(self, order: Tensor) -> Tensor:
        """Return the masks in another order, that of the indices (N,).

        Returns:
            (N, H, W) bool; with ``packed`` bits (N, H', W' / 8) uint8, where H' and W' are H and W up to whole blocks.
        """
        count, rows, columns = self._grid
        rank = torch.empty_like(order)
        rank[order] = torch.arange(count, device=order.device)
        breadth = self._blocks.shape[-1]  # pixels or bytes
        canvas = self._blocks.new_zeros(count, rows, _SIDE, columns, breadth)
        owner, row, column = self._places
        canvas[rank[owner], row, :, column] = self._blocks
        canvas = canvas.view(count, rows * _SIDE, columns * breadth)
        height, width = self._image_size
        return canvas[:, :height, :width] if breadth == _SIDE else canvas

    def _without_padding(self, enlarged: Tensor, places: tuple[Tensor, ...]) -> Tensor:
        """Make the logits (K, 32, 32) negative beyond the lower and right edge of the image."""
        height, width = self._image_size
        _, rows, columns = self._grid
        if (height, width) == (rows * _SIDE, columns * _SIDE):
            return enlarged
        offsets = torch.arange(_SIDE, device=enlarged.device)
        below = (places[1][:, None] * _SIDE + offsets >= height)[:, :, None]
        right = (places[2][:, None] * _SIDE + offsets >= width)[:, None]
        return enlarged.masked_fill(below | right, -1.0)


def _seen_blocks(padded: Tensor) -> tuple[Tensor, ...]:
    """Find the blocks of padded maps (N, h, w) in or beside which a logit is positive: mask, row and column, each (K,)."""
    return (F.max_pool2d(padded[:, None], _CELLS + 2, _CELLS)[:, 0] > 0).nonzero(as_tuple=True)


def _all_blocks(grid: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
    """List all blocks: mask, row and column, each (K,)."""
    masks, rows, columns = grid
    number = torch.arange(masks * rows * columns, device=device)
    return number // (rows * columns), number // columns % rows, number % columns


def _as_kept(masks: Tensor, packed: bool) -> Tensor:
    return pack_bits(masks) if packed else masks


def _enlarge(blocks: Tensor) -> Tensor:
    """Enlarge blocks (K, 10, 10) with one cell of their neighbours around them: (K, 32, 32)."""
    with torch.autocast(blocks.device.type, enabled=False):  # half precision moves outlines
        weights = _weights(blocks.device)
        return weights @ (blocks @ weights.T)


@cached
def _weights(device: torch.device) -> Tensor:
    """(32, 10): how much each pixel of a row takes from each cell; bilinear, pixel centres at (i + 0.5) / 4 - 0.5."""
    position = (torch.arange(_SIDE) + 0.5) / STRIDE + 0.5  # in cells, the neighbour's being the first
    distance = (position[:, None] - torch.arange(_CELLS + 2)).abs()
    return (1 - distance).clamp(min=0).to(device)
