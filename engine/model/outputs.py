"""What the model returns: the predictions of every decoder layer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Prediction:
    """Hold what one layer says of its queries.

    class_logits: (B, Q, C), one sigmoid logit per class; or (B, Q, C + 1) for a softmax, the last for no object.
    boxes: (B, Q, 4), cxcywh in 0..1 of the padded image; None where a model predicts none.
    mask_logits: (B, Q, H/4, W/4) of the padded image; None where a layer's masks were not asked for.
    """

    class_logits: Tensor
    boxes: Tensor | None
    mask_logits: Tensor | None


@dataclass
class Outputs(Prediction):
    """Hold the last layer's prediction and, for training, those of the layers before it.

    auxiliary: the initial prediction of the selected or learned queries, then layer 1 to the last but one.
    encoder: the two-stage proposals taken from the encoder; None for a model without two-stage selection.
    denoising: the denoising queries' part of the initial prediction and of layer 1 to the last; empty when there was none.
    interaction: the proposals after each layer of DI-MaskDINO's token interaction, without masks; empty for other models.
    """

    auxiliary: list[Prediction] = field(default_factory=list)
    encoder: Prediction | None = None
    denoising: list[Prediction] = field(default_factory=list)
    interaction: list[Prediction] = field(default_factory=list)


# torch.export asks of what it does not know where the tensors are
torch.export.register_dataclass(Prediction)
torch.export.register_dataclass(Outputs)
