"""What the decoder starts from: the best positions of the encoder's memory (two-stage selection), or learned queries."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine.model.layers.cached_constants import cached
from engine.model.layers.heads import PredictionHeads
from engine.model.layers.positions import Shapes, cell_centres, inverse_sigmoid
from engine.model.outputs import Prediction

_FINEST_BOX = 0.05  # side of the first level's proposals, in fractions of the image; it doubles a level
_VALID = (0.01, 0.99)  # proposals that leave this range cannot be turned into logits safely


@dataclass
class SelectedQueries:
    """What the decoder starts from.

    Attributes:
        content: (B, Q, C), detached where selected.
        boxes: (B, Q, 4) cxcywh as logits, likewise.
        prediction: what the selected proposals themselves predict, trained though not decoded; None for learned queries.
        positions: (B, Q) where in the memory each query came from; None for learned queries.
        interaction: what proposals predict on their way to the queries, in a family that selects twice; content and boxes are
            not detached there.
    """

    content: Tensor
    boxes: Tensor
    prediction: Prediction | None = None
    positions: Tensor | None = None
    interaction: list[Prediction] = field(default_factory=list)


class QuerySelection(nn.Module):
    """Mask DINO's unified and enhanced query selection (arXiv 2206.02777, section 3.3)."""

    def __init__(self, *, dim: int, queries: int, box_initialisation: str) -> None:
        super().__init__()
        self.queries = queries
        self.box_initialisation = box_initialisation
        self.projection = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, memory: Tensor, shapes: Shapes, pixels: Tensor, heads: PredictionHeads) -> SelectedQueries:
        """Score every position of the memory (B, S, C) and take the best.

        ``shapes`` are the levels' heights and widths in the memory's order, ``pixels`` the per-pixel embeddings.
        """
        proposals = _proposals(shapes, dtype=memory.dtype, device=memory.device)
        memory = self.norm(self.projection(memory.masked_fill(proposals[:, :1].isinf(), 0.0)))
        count = min(self.queries, memory.shape[1])
        positions = heads.classify(memory).amax(-1).topk(count, dim=1).indices
        content = memory.gather(1, positions[..., None].expand(-1, -1, memory.shape[-1]))
        boxes = heads.refine_box(content) + proposals[positions]
        class_logits, mask_logits = heads(content, pixels)
        prediction = Prediction(class_logits, boxes.sigmoid(), mask_logits)
        start = boxes.detach()
        if self.box_initialisation != "no":
            start = inverse_sigmoid(mask_boxes(mask_logits.detach(), kind=self.box_initialisation).to(boxes))
        return SelectedQueries(content.detach(), start, prediction, positions)


class LearnedQueries(nn.Module):
    """Queries that are parameters, the same for every image: what official Mask DINO has with two-stage selection off."""

    def __init__(self, *, dim: int, queries: int) -> None:
        super().__init__()
        self.content = nn.Embedding(queries, dim)
        self.boxes = nn.Embedding(queries, 4)

    def forward(self, memory: Tensor, shapes: Shapes, pixels: Tensor, heads: PredictionHeads) -> SelectedQueries:
        """Return the queries for each image of the memory (B, S, C); the rest is for the other kind."""
        return SelectedQueries(*(of.weight.expand(len(memory), -1, -1) for of in (self.content, self.boxes)))


def mask_boxes(masks: Tensor, *, kind: str) -> Tensor:
    """Bound each mask by a box.

    Args:
        masks: (..., h, w), logits or bool: a mask is where it is above zero.
        kind: "bitmask" counts the last row and column in; "mask2box" does not, and gives an empty mask the point at the
            lower right corner instead of the upper left.

    Returns:
        (..., 4) float32 cxcywh in fractions of the map.
    """
    height, width = masks.shape[-2:]
    # The largest logit of a row says whether the mask is in it, and on a CPU is found faster than all are compared with zero.
    rows, columns = masks.amax(-1) > 0, masks.amax(-2) > 0
    empty = ~rows.any(-1)
    far = 1 if kind == "bitmask" else 0
    spans = []
    for line, length in ((columns, width), (rows, height)):
        nowhere = 0 if kind == "bitmask" else length
        first = line.int().argmax(-1).masked_fill(empty, nowhere)
        last = (length - 1 - line.flip(-1).int().argmax(-1) + far).masked_fill(empty, nowhere)
        spans.append((first.float(), last.float()))
    (x0, x1), (y0, y1) = spans
    return torch.stack([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height], dim=-1)


@cached
def _proposals(shapes: Shapes, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Propose a square box at each position: (S, 4) cxcywh as logits, infinite where they are not valid."""
    centres = cell_centres(shapes, dtype=dtype, device=device)
    sides = [centres.new_full((height * width, 2), _FINEST_BOX * 2.0**level) for level, (height, width) in enumerate(shapes)]
    proposals = torch.cat([centres, torch.cat(sides)], dim=-1)
    valid = ((proposals > _VALID[0]) & (proposals < _VALID[1])).all(-1, keepdim=True)
    return torch.log(proposals / (1 - proposals)).masked_fill(~valid, float("inf"))
