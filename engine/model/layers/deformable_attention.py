"""The attention module around the operator: where to look, and how much."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engine.model.layers.cached_constants import cached
from engine.model.layers.positions import Shapes
from engine.ops import ms_deform_attn


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, section 4.1)."""

    def __init__(self, dim: int, *, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start each head looking in its own direction, one pixel further a point, with equal weights."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)
        offsets = directions[:, None, None] * steps[:, None]  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.weight.zero_()
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.levels, -1, -1).flatten())
            self.attention_weights.weight.zero_()
            self.attention_weights.bias.zero_()
            for projection in (self.value_proj, self.output_proj):
                nn.init.xavier_uniform_(projection.weight)
                projection.bias.zero_()

    def forward(self, query: Tensor, reference: Tensor, memory: Tensor, shapes: Shapes) -> Tensor:
        """Attend from queries to the memory around their references.

        Args:
            query: (B, Q, C).
            reference: (1, Q, 2) points, the same in all images, or (B, Q, 4) cxcywh boxes, in 0..1. Offsets are in pixels of
                each level around a point, in fractions of the box around a box.
            memory: (B, S, C), the levels one after the other.
            shapes: of the memory's levels.

        Returns:
            (B, Q, C).
        """
        batch, queries, dim = query.shape
        value = self.value_proj(memory).view(batch, -1, self.heads, dim // self.heads)
        sampled = (batch, queries, self.heads, self.levels, self.points)
        # where to look and how much stay exact, whatever the layers compute in
        offsets = self.sampling_offsets(query).to(reference)
        weights = self.attention_weights(query).view(batch, queries, self.heads, -1).to(reference).softmax(-1).view(sampled)
        if reference.shape[-1] == 2:
            # x and y of all points in one long row: over rows of two, a CPU's vector instructions have nothing to do
            cells = _cell_sizes(shapes, self.points, dtype=offsets.dtype, device=offsets.device).repeat(self.heads)
            centres = reference.repeat(1, 1, self.points).repeat(1, 1, self.heads * self.levels)
            locations = torch.addcmul(centres, offsets, cells).view(*sampled, 2)
        else:
            reference = reference[:, :, None, None, None]
            locations = reference[..., :2] + offsets.view(*sampled, 2) / self.points * reference[..., 2:] * 0.5
        return self.output_proj(ms_deform_attn(value, torch.tensor(shapes), locations, weights))


@cached
def _cell_sizes(shapes: Shapes, points: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the width and height of a cell of each level, once for each of its points: (L*P*2)."""
    sizes = [torch.full((points, 2), 1.0, dtype=dtype, device=device) for _ in shapes]
    for size, (height, width) in zip(sizes, shapes, strict=True):
        size[:, 0] /= width
        size[:, 1] /= height
    return torch.cat(sizes).flatten()
