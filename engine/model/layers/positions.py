"""Sine encodings of positions (arXiv 1706.03762, section 3.5), over the cells of a map and over boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.model.layers.cached_constants import cached

Shapes = tuple[tuple[int, int], ...]
"""Height and width of each level of maps."""

_TEMPERATURE = 10000


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the logit of probabilities, kept finite at 0 and 1 by ``eps``."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


@cached
def encode_maps(shapes: Shapes, channels: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Encode each cell of maps of these (height, width): (cells of all, channels), the first half from y, the second from x."""
    encoded = []
    for height, width in shapes:
        columns = torch.arange(1, width + 1, dtype=dtype, device=device) / (width + 1e-6)
        rows = torch.arange(1, height + 1, dtype=dtype, device=device) / (height + 1e-6)
        half = channels // 2
        y = _sine(rows, half)[:, None].expand(height, width, half)
        x = _sine(columns, half)[None].expand(height, width, half)
        encoded.append(torch.cat([y, x], dim=-1).flatten(0, 1))
    return torch.cat(encoded)


@cached
def cell_centres(shapes: Shapes, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the centre of each cell of maps of these (height, width), as x, y in 0..1: (cells of all, 2)."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, dtype=dtype, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=dtype, device=device) + 0.5) / width
        centres.append(torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).flatten(0, 1))
    return torch.cat(centres)


def encode_boxes(boxes: Tensor, channels: int) -> Tensor:
    """Encode cxcywh boxes (..., 4) in 0..1 as (..., 4 * channels), in the order y, x, w, h."""
    x, y, width, height = boxes.unbind(-1)
    return _sine(torch.stack([y, x, width, height], dim=-1), channels).flatten(-2)


def _sine(positions: Tensor, channels: int) -> Tensor:
    """(...,) in 0..1 -> (..., channels), sines and cosines in turn."""
    exponent = torch.arange(0, channels, 2, dtype=positions.dtype, device=positions.device) / channels
    angles = (positions * (2 * math.pi))[..., None] / _TEMPERATURE**exponent
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
