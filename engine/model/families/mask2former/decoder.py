"""The masked-attention decoder: learned queries, each of which sees the part of the image that its own mask covers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.families.mask2former.config import MaskedDecoderConfig
from engine.model.families.maskdino.transformer_decoder import SelfAttention
from engine.model.layers.feed_forward import feed_forward
from engine.model.layers.heads import MLP
from engine.model.layers.positions import encode_maps


class MaskHeads(nn.Module):
    """The heads that the learned queries and all decoder layers share: class and mask of a query."""

    def __init__(self, *, dim: int, mask_dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, num_classes + 1)  # the last stands for no object
        self.embed_mask = MLP(dim, dim, dim, mask_dim)

    def draw(self, states: Tensor, pixels: Tensor) -> Tensor:
        """Draw the masks of normalised queries (B, Q, C) over per-pixel embeddings (B, mask_dim, h, w): logits (B, Q, h, w)."""
        return torch.einsum("bqc,bchw->bqhw", self.embed_mask(states).to(pixels), pixels)


class MaskedDecoder(nn.Module):
    """Mask2Former's transformer decoder (arXiv 2112.01527, section 3.2)."""

    def __init__(self, config: MaskedDecoderConfig, *, dim: int, levels: int) -> None:
        super().__init__()
        self.content = nn.Embedding(config.queries, dim)
        self.position = nn.Embedding(config.queries, dim)
        self.level_embedding = nn.Embedding(levels, dim)
        self.layers = nn.ModuleList(MaskedDecoderLayer(config, dim=dim) for _ in range(config.layers))

    def forward(self, maps: Sequence[Tensor], pixels: Tensor, heads: MaskHeads, *, intermediate: bool = True) -> list[Tensor]:
        """Decode the queries.

        Args:
            maps: of the pixel decoder, each (B, C, h, w); layer i attends to the one at i modulo their number.
            pixels: (B, mask_dim, H/4, W/4) per-pixel embeddings.
            heads: draw the masks that the next layer attends within; the norm is theirs, too.
            intermediate: whether to return the states of the learned queries and of every layer, or of the last one alone.

        Returns:
            Normalised queries (B, Q, C).
        """
        like = {"dtype": maps[0].dtype, "device": maps[0].device}
        positions = [encode_maps((tuple(each.shape[-2:]),), each.shape[1], **like) for each in maps]  # (S, C)
        memories = [
            each.flatten(2).transpose(1, 2) + embedding
            for each, embedding in zip(maps, self.level_embedding.weight, strict=True)
        ]  # (B, S, C)
        # Masks are linear in the pixels: those at a map's size need not be drawn at full size first.
        small_pixels = [
            F.interpolate(pixels.detach(), size=each.shape[-2:], mode="bilinear", align_corners=False) for each in maps
        ]
        content = self.content.weight.expand(len(pixels), -1, -1)
        states = [heads.norm(content)]
        for index, layer in enumerate(self.layers):
            level = index % len(maps)
            with torch.no_grad():
                seen = _inside(heads.draw(states[-1], small_pixels[level]))
            content = layer(content, self.position.weight, memories[level], positions[level], seen)
            states.append(heads.norm(content))
        return states if intermediate else states[-1:]

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the layers."""
        yield from self.layers


class MaskedDecoderLayer(nn.Module):
    """Attention to the memory within the masks, self-attention among the queries, feed-forward; norms after each."""

    def __init__(self, config: MaskedDecoderConfig, *, dim: int) -> None:
        super().__init__()
        self.cross_attention = MaskedAttention(dim, config.heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = SelfAttention(dim, config.heads, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, dim)
        self.norm = nn.LayerNorm(dim)
        for matrix in (self.cross_attention.out_proj, self.self_attention.out_proj, self.linear1, self.linear2):
            nn.init.xavier_uniform_(matrix.weight)

    def forward(self, content: Tensor, position: Tensor, memory: Tensor, memory_position: Tensor, seen: Tensor) -> Tensor:
        """(B, Q, C) -> the same; ``seen`` is (B, Q, S), True where a query sees the memory (B, S, C)."""
        attended = self.cross_attention(content + position, memory + memory_position, memory, seen)
        content = self.cross_norm(content + attended)
        content = self.self_norm(content + self.self_attention(content + position, content))
        return feed_forward(content, self.linear1, self.linear2, self.norm)


class MaskedAttention(nn.MultiheadAttention):
    """torch's attention, with a mask for each image and query."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
        """Attend from (B, Q, C) to (B, S, C) where ``seen`` (B, Q, S) is True."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        heads = [
            F.linear(each, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for each, weight, bias in zip((query, key, value), weights, biases, strict=True)
        ]  # (B, M, Q or S, C/M)
        attended = F.scaled_dot_product_attention(*heads, attn_mask=seen[:, None])
        return self.out_proj(attended.transpose(1, 2).flatten(2))


def _inside(mask_logits: Tensor) -> Tensor:
    """Flatten (B, Q, h, w) to where each mask is: (B, Q, S) bool; everywhere, where it is nowhere."""
    inside = mask_logits.flatten(2).sigmoid() >= 0.5
    return inside | ~inside.any(-1, keepdim=True)
