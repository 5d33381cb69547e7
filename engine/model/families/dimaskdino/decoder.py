"""The transformer decoder, whose queries guide the memory and the per-pixel embeddings once before they are refined further."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.families.dimaskdino.config import BalancedDecoderConfig
from engine.model.families.maskdino.transformer_decoder import DecoderLayer
from engine.model.layers.feed_forward import feed_forward
from engine.model.layers.heads import MLP, PredictionHeads
from engine.model.layers.positions import Shapes, encode_boxes, encode_maps, inverse_sigmoid

_OPTIMISED = 1  # the layer before which the memory is optimised, counted from 0
_NORM_GROUPS = 32


class BalanceAwareDecoder(nn.Module):
    """Mask DINO's decoder with Balance-Aware Tokens Optimization before its second layer (arXiv 2410.16707, section 3.3)."""

    def __init__(self, config: BalancedDecoderConfig, *, dim: int, levels: int) -> None:
        super().__init__()
        self.dim = dim
        self.queries = config.queries
        self.layers = nn.ModuleList(DecoderLayer(config, dim=dim, levels=levels) for _ in range(config.layers))
        self.reference_head = MLP(2 * dim, dim, dim)
        self.optimisation = TokensOptimisation(config, dim=dim)

    def forward(
        self,
        content: Tensor,
        boxes: Tensor,
        memory: Tensor,
        shapes: Shapes,
        pixels: Tensor,
        heads: PredictionHeads,
        *,
        attention_mask: Tensor | None = None,
        intermediate: bool = True,
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Decode the queries.

        Args:
            content: (B, P + Q, C), denoising queries first.
            boxes: (B, P + Q, 4) cxcywh in 0..1, where the queries start; gradients flow back through them.
            memory: (B, S, C).
            shapes: of the memory's levels, the finest last.
            pixels: (B, C, H/4, W/4) per-pixel embeddings.
            heads: refine the boxes, choose the guiding queries and embed their masks; the norm is theirs too.
            attention_mask: (P + Q, P + Q) bool, True where a query must not see another.
            intermediate: whether every layer predicts, or the last one alone.

        Returns:
            Of each layer that predicts: normalised queries (B, P + Q, C), predicted boxes (B, P + Q, 4) in 0..1, and the
            per-pixel embeddings that its masks are drawn over.
        """
        predicted = []
        reference = previous = boxes  # see `TransformerDecoder.forward`
        for index, layer in enumerate(self.layers):
            position = self.reference_head(encode_boxes(reference, self.dim // 2))
            if index == _OPTIMISED:
                ordinary = slice(content.shape[1] - min(self.queries, content.shape[1]), None)  # denoising must not leak
                memory, pixels = self.optimisation(content[:, ordinary], position[:, ordinary], memory, shapes, pixels, heads)
            content = layer(content, position, reference, memory, shapes, attention_mask)
            last = index + 1 == len(self.layers)
            if intermediate or last:
                state = heads.norm(content)
                predicted.append((state, (heads.refine_box(state) + inverse_sigmoid(previous)).sigmoid(), pixels))
            if not last:
                previous = (heads.refine_box(content) + inverse_sigmoid(reference)).sigmoid()
                reference = previous.detach()
        return predicted

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the layers."""
        yield from self.layers


class TokensOptimisation(nn.Module):
    """Balance-Aware Tokens Optimization: the surest queries' masks and boxes guide every token of the memory."""

    def __init__(self, config: BalancedDecoderConfig, *, dim: int) -> None:
        super().__init__()
        self.tokens = config.guiding_tokens
        self.attention = nn.MultiheadAttention(dim, config.heads, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.output = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.GroupNorm(_NORM_GROUPS, dim), nn.ReLU())
        for linear in (self.attention.out_proj, self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.kaiming_uniform_(self.output[0].weight, a=1)

    def forward(
        self, content: Tensor, position: Tensor, memory: Tensor, shapes: Shapes, pixels: Tensor, heads: PredictionHeads
    ) -> tuple[Tensor, Tensor]:
        """Let the surest of the queries (B, Q, C) with positions (B, Q, C) guide memory (B, S, C) and pixels (B, C, h, w).

        Returns:
            The new memory and the new per-pixel embeddings, of the same shapes.
        """
        count = min(self.tokens, content.shape[1])
        chosen = heads.classify(content).amax(-1).topk(count, dim=1).indices[..., None].expand(-1, -1, content.shape[-1])
        guides, places = heads.embed_mask(content.gather(1, chosen)), position.gather(1, chosen)
        cells = encode_maps(shapes, memory.shape[-1], dtype=memory.dtype, device=memory.device)
        attended, _ = self.attention(memory + cells, guides + places, guides, need_weights=False)
        memory = feed_forward(self.norm1(memory + attended), self.linear1, self.linear2, self.norm2)
        height, width = shapes[-1]
        finest = memory[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))
        finest = F.interpolate(finest.to(pixels), size=pixels.shape[-2:], mode="bilinear", align_corners=False)
        return memory, self.output(pixels + finest)
