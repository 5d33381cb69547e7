"""The transformer decoder: queries that carry a box, refined layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.families.maskdino.config import DecoderConfig
from engine.model.layers.deformable_attention import DeformableAttention
from engine.model.layers.feed_forward import feed_forward
from engine.model.layers.heads import MLP, PredictionHeads
from engine.model.layers.positions import Shapes, encode_boxes, inverse_sigmoid


class TransformerDecoder(nn.Module):
    """DINO's decoder (arXiv 2203.03605): dynamic anchor boxes, look forward twice."""

    def __init__(self, config: DecoderConfig, *, dim: int, levels: int) -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(DecoderLayer(config, dim=dim, levels=levels) for _ in range(config.layers))
        self.reference_head = MLP(2 * dim, dim, dim)

    def forward(
        self,
        content: Tensor,
        boxes: Tensor,
        memory: Tensor,
        shapes: Shapes,
        heads: PredictionHeads,
        *,
        attention_mask: Tensor | None = None,
        intermediate: bool = True,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Decode the queries.

        Args:
            content: (B, Q, C).
            boxes: (B, Q, 4) cxcywh in 0..1, where the queries start.
            memory: (B, S, C).
            shapes: of the memory's levels.
            heads: refine the boxes; the norm is theirs too.
            attention_mask: (Q, Q) bool, True where a query must not see another.
            intermediate: whether every layer predicts, or the last one alone.

        Returns:
            Of each layer that predicts: normalised queries (B, Q, C) and predicted boxes (B, Q, 4) in 0..1.
        """
        states, predicted = [], []
        reference = boxes  # what the layer looks at: no gradient flows back through it
        previous = boxes  # what the prediction corrects: the gradient reaches one layer back (look forward twice)
        for index, layer in enumerate(self.layers, start=1):
            position = self.reference_head(encode_boxes(reference, self.dim // 2))
            content = layer(content, position, reference, memory, shapes, attention_mask)
            if intermediate or index == len(self.layers):
                state = heads.norm(content)
                states.append(state)
                predicted.append((heads.refine_box(state) + inverse_sigmoid(previous)).sigmoid())
            if index < len(self.layers):
                previous = (heads.refine_box(content) + inverse_sigmoid(reference)).sigmoid()
                reference = previous.detach()
        return states, predicted

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the layers."""
        yield from self.layers


class DecoderLayer(nn.Module):
    """Self-attention among the queries, deformable attention into the memory, feed-forward; norms after each."""

    def __init__(self, config: DecoderConfig, *, dim: int, levels: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(dim, config.heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attention = DeformableAttention(dim, levels=levels, heads=config.heads, points=config.points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, dim)
        self.norm3 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        attention_mask: Tensor | None,
    ) -> Tensor:
        """(B, Q, C) -> the same."""
        attended = self.self_attention(content + position, content, attention_mask=attention_mask)
        content = self.norm2(content + attended)
        attended = self.cross_attention(content + position, reference, memory, shapes)
        content = self.norm1(content + attended)
        return feed_forward(content, self.linear1, self.linear2, self.norm3)


class SelfAttention(nn.MultiheadAttention):
    """torch's attention of queries among each other, computed without its copies, which take a CPU as long in bfloat16."""

    def forward(self, query: Tensor, content: Tensor, *, attention_mask: Tensor | None = None) -> Tensor:
        """Attend from queries (B, Q, C), which are the keys too, to contents (B, Q, C).

        ``attention_mask``: (Q, Q) bool, True where a query must not see another.
        """
        asking = 2 * self.embed_dim  # the rows of the packed weight that make queries and keys
        queries, keys = F.linear(query, self.in_proj_weight[:asking], self.in_proj_bias[:asking]).chunk(2, dim=-1)
        values = F.linear(content, self.in_proj_weight[asking:], self.in_proj_bias[asking:])
        heads = [each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for each in (queries, keys, values)]  # (B, M, Q, C/M)
        seen = None if attention_mask is None else ~attention_mask
        attended = F.scaled_dot_product_attention(*heads, attn_mask=seen)
        return self.out_proj(attended.transpose(1, 2).flatten(2))
