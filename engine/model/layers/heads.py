"""What is read off a query: class, box correction, mask. One set of heads serves every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_PRIOR_PROBABILITY = 0.01


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., widths[0]) -> (..., widths[-1])."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


class PredictionHeads(nn.Module):
    """The heads that the proposals and all decoder layers share.

    ``no_object`` adds a last class logit for it: the classes are then those of a softmax.
    """

    def __init__(self, *, dim: int, mask_dim: int, num_classes: int, no_object: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, num_classes + no_object)
        self.embed_mask = MLP(dim, dim, dim, mask_dim)
        self.refine_box = MLP(dim, dim, dim, 4)
        # Start from a rare foreground (focal loss, arXiv 1708.02002, section 4.1), boxes from their references.
        if not no_object:
            nn.init.constant_(self.classify.bias, -math.log((1 - _PRIOR_PROBABILITY) / _PRIOR_PROBABILITY))
        nn.init.zeros_(self.refine_box.layers[-1].weight)
        nn.init.zeros_(self.refine_box.layers[-1].bias)

    def forward(self, queries: Tensor, pixels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Normalise the queries, then classify them and draw their masks.

        Args:
            queries: (B, Q, C).
            pixels: (B, mask_dim, h, w) per-pixel embeddings; None leaves the masks out.

        Returns:
            Class logits (B, Q, classes), with no object (B, Q, classes + 1), and mask logits (B, Q, h, w).
        """
        queries = self.norm(queries)
        masks = None
        if pixels is not None:
            masks = torch.einsum("bqc,bchw->bqhw", self.embed_mask(queries).to(pixels), pixels)
        return self.classify(queries), masks

    def draw(self, queries: Tensor, pixels: Tensor, *, images: Tensor, ranks: Tensor, counts: Sequence[int]) -> Tensor:
        """Draw the masks of some queries (N, C) of a batch's images; see `draw_masks`."""
        return draw_masks(self.embed_mask(self.norm(queries)), pixels, images=images, ranks=ranks, counts=counts)


def draw_masks(embedded: Tensor, pixels: Tensor, *, images: Tensor, ranks: Tensor, counts: Sequence[int]) -> Tensor:
    """Draw the masks of some queries of a batch's images.

    Args:
        embedded: (N, mask_dim) embeddings of the masks, image by image.
        pixels: (B, mask_dim, h, w) per-pixel embeddings.
        images, ranks: (N,) the image of each query, and its place among those of this image.
        counts: queries of each image.

    Returns:
        Mask logits (N, h, w).
    """
    embedded, most = embedded.to(pixels), max(counts)
    every = len(embedded) == len(counts) * most
    if every:
        table = embedded.unflatten(0, (len(counts), most))
    else:  # one product for all images, as if each had as many queries as the one that has most
        table = embedded.new_zeros(len(counts), most, embedded.shape[-1])
        table[images, ranks] = embedded
    masks = torch.einsum("bqc,bchw->bqhw", table, pixels)
    return masks.flatten(0, 1) if every else masks[images, ranks]
