"""The De-Imbalance module: queries are selected twice, and between the selections they find the objects' boxes."""

from __future__ import annotations

from torch import Tensor, nn

from engine.model.families.dimaskdino.config import BalancedDecoderConfig
from engine.model.families.maskdino.query_selection import QuerySelection, SelectedQueries
from engine.model.families.maskdino.transformer_decoder import SelfAttention
from engine.model.layers.feed_forward import feed_forward
from engine.model.layers.heads import MLP, PredictionHeads
from engine.model.layers.positions import Shapes, encode_boxes, inverse_sigmoid
from engine.model.outputs import Prediction


class DoubleSelection(nn.Module):
    """Residual double selection (arXiv 2410.16707, section 3.2).

    Many positions of the memory are selected as in Mask DINO. They attend to each other and move their boxes, trained as a
    detector without masks. Of what they have become the best are selected again.
    """

    def __init__(self, config: BalancedDecoderConfig, *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.queries = config.queries
        self.first = QuerySelection(dim=dim, queries=config.first_queries, box_initialisation=config.box_initialisation)
        self.reference_head = MLP(2 * dim, dim, dim)
        self.layers = nn.ModuleList(InteractionLayer(config, dim=dim) for _ in range(config.interaction_layers))
        self.norm = nn.LayerNorm(dim)
        self.refine_box = MLP(dim, dim, dim, 4)
        nn.init.zeros_(self.refine_box.layers[-1].weight)
        nn.init.zeros_(self.refine_box.layers[-1].bias)

    def forward(self, memory: Tensor, shapes: Shapes, pixels: Tensor, heads: PredictionHeads) -> SelectedQueries:
        """Select queries from the memory (B, S, C); see `QuerySelection.forward`.

        Returns:
            Content and boxes of the second selection, with their gradients, and the positions they came from; ``prediction``
            and ``interaction`` are of all proposals of the first.
        """
        first = self.first(memory, shapes, pixels, heads)
        content, reference = first.content, first.boxes.sigmoid()
        interaction = []
        for layer in self.layers:
            content = layer(content, self.reference_head(encode_boxes(reference, self.dim // 2)))
            boxes = self._moved(reference, content)
            state = self.norm(content)
            # The prediction moves the boxes once more, unlike a decoder layer's: so the published weights were trained.
            interaction.append(Prediction(heads(state, None)[0], self._moved(boxes, state), None))
            reference = boxes.detach()
        chosen = heads.classify(state).amax(-1).topk(min(self.queries, state.shape[1]), dim=1).indices  # (B, Q)
        return SelectedQueries(
            content=_taken(content, chosen),
            boxes=inverse_sigmoid(_taken(boxes, chosen)),
            prediction=first.prediction,
            positions=first.positions.gather(1, chosen),
            interaction=interaction,
        )

    def _moved(self, boxes: Tensor, content: Tensor) -> Tensor:
        """Move boxes (B, Q, 4) in 0..1 by what queries (B, Q, C) say."""
        return (self.refine_box(content) + inverse_sigmoid(boxes)).sigmoid()


class InteractionLayer(nn.Module):
    """Self-attention among the proposals and a feed-forward network, each followed by its norm."""

    def __init__(self, config: BalancedDecoderConfig, *, dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(dim, config.heads, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, content: Tensor, position: Tensor) -> Tensor:
        """(B, Q, C) -> the same."""
        content = self.norm1(content + self.self_attention(content + position, content))
        return feed_forward(content, self.linear1, self.linear2, self.norm2)


def _taken(of_queries: Tensor, chosen: Tensor) -> Tensor:
    """Take chosen (B, K) of queries (B, Q, C): (B, K, C)."""
    return of_queries.gather(1, chosen[..., None].expand(-1, -1, of_queries.shape[-1]))
