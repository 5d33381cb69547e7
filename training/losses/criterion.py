"""The training loss of Mask DINO and Mask2Former: class, mask, dice, box and GIoU terms of every layer (arXiv:2206.02777)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.families.maskdino.model import DenoisingQueries
from engine.model.outputs import Outputs, Prediction

from .box_losses import BOX_AGREEMENT, cxcywh_to_xyxy, l1_distance
from .classification import focal_loss
from .config import LossConfig
from .ignored_ground import ignored_share, on_ignored_ground
from .mask_losses import dice, mask_cross_entropy
from .matcher import HungarianMatcher
from .pairs import Pairs, denoising_pairs, matched_pairs
from .point_sampling import at_least_float32, choose_points, sample_points
from .random_source import RandomSource, TorchRandom
from .target import Target
from .target_batch import TargetBatch
from .workers import average_over_workers

_MASK_STRIDE = 4
_LEAST_WEIGHT = 1e-12  # where all queries are left out, the loss is 0 and not 0 / 0
_MASK_TERMS = ("loss_mask", "loss_dice")


class _Layer(NamedTuple):
    """Hold the pattern of its losses' names, a prediction, the pairs to compare, and what the sums are divided by.

    Where ``ignored`` (B, H/4, W/4) is given, queries without a target that lie on that ground have no part in the losses.
    """

    pattern: str
    prediction: Prediction
    pairs: Pairs
    divisor: Tensor
    ignored: Tensor | None = None


class Criterion(nn.Module):
    """Match each layer's predictions to the targets and measure how far they are off.

    The losses come unweighted under the names of the published logs: ``loss_ce``, ``loss_mask``, ``loss_dice``,
    ``loss_bbox``, ``loss_giou`` of the last layer; with ``_0`` .. ``_8`` of those before it (0 is the prediction before
    layer 1), with ``_interm`` of the encoder's proposals, and with ``_dn``, ``_dn_0`` .. of the denoising queries;
    ``oldm_loss_ce_0`` and the like, without masks, are those of DI-MaskDINO's token interaction (arXiv:2410.16707).
    All but cross-entropy are sums over the batch, divided by the number of targets. Queries without a target that predict
    something on ignored ground are left out of the classification loss. A model without boxes has no losses of boxes.
    """

    def __init__(self, *, num_classes: int, config: LossConfig | None = None, random: RandomSource | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.config = config or LossConfig()
        self.random = random or TorchRandom()
        self.matcher = HungarianMatcher(
            costs=self.config.costs,
            points=self.config.points,
            class_cost=self.config.class_cost,
            focal_alpha=self.config.focal_alpha,
            focal_gamma=self.config.focal_gamma,
            random=self.random,
        )
        weights = self.config.weights
        self.weights = {
            "loss_ce": weights.classification,
            "loss_mask": weights.mask,
            "loss_dice": weights.dice,
            "loss_bbox": weights.box,
            "loss_giou": weights.giou,
        }
        # Not persistent: published checkpoints carry it as criterion.empty_weight, but it follows from the config.
        empty_weight = torch.ones(num_classes + 1)
        empty_weight[-1] = self.config.no_object_weight
        self.register_buffer("empty_weight", empty_weight, persistent=False)

    def forward(
        self, outputs: Outputs, targets: Sequence[Target], denoising: DenoisingQueries | None = None
    ) -> dict[str, Tensor]:
        """Compute every loss, unweighted.

        Args:
            outputs: of a batch of B images.
            targets: B, on the outputs' device; masks that are smaller than the padded image are padded as it is.
            denoising: the queries that ``outputs.denoising`` answers; None where there were none.

        Raises:
            DivergedError: the outputs are not finite.
        """
        batch, device = TargetBatch.of(targets, size=_image_size(outputs)), outputs.class_logits.device
        supervised = self._supervised(outputs)
        matches = self.matcher(list(supervised.values()), batch)
        with torch.autocast(device.type, enabled=False):
            divisor, ignored = average_over_workers(len(batch), device), ignored_share(batch)
            pairs = matched_pairs(matches, batch.counts, device)
            layers = [
                _Layer(pattern, prediction, matched, divisor, ignored)
                for (pattern, prediction), matched in zip(supervised.items(), pairs, strict=True)
            ]
            if denoising is None:
                return self._losses(layers, batch) | self._no_denoising(outputs)
            own, divisor = denoising_pairs(denoising, batch.counts, device), divisor * denoising.groups
            for pattern, number in self._denoising_layers(outputs).items():
                layers.append(_Layer(pattern, self._denoised(outputs.denoising[number]), own, divisor))
            return self._losses(layers, batch)

    def weight(self, name: str) -> float:
        """Return the weight of a loss by its name, whichever layer it belongs to."""
        return next(weight for term, weight in self.weights.items() if term in name)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Add the losses up, weighted."""
        return torch.stack([self.weight(name) * loss for name, loss in losses.items()]).sum()

    def loss_classes(self, layer: _Layer, targets: TargetBatch) -> Tensor:
        """Compare the class logits of all queries, those without a target too: focal loss or cross-entropy."""
        logits, pairs = at_least_float32(layer.prediction.class_logits), layer.pairs
        labels, left_out = targets.labels[pairs.target], None
        if layer.ignored is not None:
            left_out = on_ignored_ground(layer.prediction, layer.ignored)
            left_out.index_put_((pairs.image, pairs.query), left_out.new_zeros(()))
        if self.config.classification == "cross_entropy":
            wanted = torch.full(logits.shape[:2], self.num_classes, dtype=torch.int64, device=logits.device)
            wanted[pairs.image, pairs.query] = labels
            weight = self.empty_weight.to(logits)
            of_each = weight[wanted]
            loss = F.cross_entropy(logits.transpose(1, 2), wanted, weight, reduction="none")
            if left_out is not None:
                of_each, loss = of_each.masked_fill(left_out, 0), loss.masked_fill(left_out, 0)
            return loss.sum() / of_each.sum().clamp(min=_LEAST_WEIGHT)
        wanted = torch.zeros_like(logits)
        # Not `wanted[...] = 1`: a GPU would be waited for, because the 1 is copied there.
        wanted.index_put_((pairs.image, pairs.query, labels), wanted.new_ones(()))
        loss = focal_loss(logits, wanted, alpha=self.config.focal_alpha, gamma=self.config.focal_gamma)
        if left_out is not None:
            loss = loss.masked_fill(left_out[..., None], 0)
        return loss.sum() / layer.divisor

    def loss_masks(self, layer: _Layer, targets: TargetBatch) -> tuple[Tensor, Tensor]:
        """Compare the masks of the pairs at the points where they are least certain: cross-entropy, dice."""
        pairs = layer.pairs
        mask_logits = at_least_float32(layer.prediction.mask_logits[pairs.image, pairs.query])  # (K, H/4, W/4)
        points = choose_points(
            mask_logits,
            count=self.config.points,
            oversample_ratio=self.config.oversample_ratio,
            importance_ratio=self.config.importance_sample_ratio,
            random=self.random,
        )
        wanted = targets.sampler(pairs.target, points, mask_logits.dtype)
        sampled = sample_points(mask_logits[:, None], points)[:, 0]
        cross_entropy, shape = mask_cross_entropy(sampled, wanted), dice(sampled, wanted)
        return cross_entropy.sum() / layer.divisor, shape.sum() / layer.divisor

    def loss_boxes(self, layers: Sequence[_Layer], targets: TargetBatch) -> list[tuple[Tensor, Tensor]]:
        """Compare the boxes of each layer's pairs: L1 distance, one minus the overlap that the config asks for."""
        # All layers together, for the arithmetic of boxes is many small operations.
        boxes = torch.cat([at_least_float32(layer.prediction.boxes[layer.pairs.image, layer.pairs.query]) for layer in layers])
        wanted = targets.boxes[torch.cat([layer.pairs.target for layer in layers])]
        overlap = BOX_AGREEMENT[self.config.box_loss](cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(wanted))
        terms = torch.stack([l1_distance(boxes, wanted), 1 - overlap])
        of_layers = terms.split([len(layer.pairs.target) for layer in layers], dim=1)
        return [(of.sum(dim=1) / layer.divisor).unbind() for of, layer in zip(of_layers, layers, strict=True)]

    def _losses(self, layers: Sequence[_Layer], targets: TargetBatch) -> dict[str, Tensor]:
        losses = {}
        with_boxes = layers[0].prediction.boxes is not None
        of_boxes = self.loss_boxes(layers, targets) if with_boxes else [None] * len(layers)
        for layer, box_terms in zip(layers, of_boxes, strict=True):
            terms = {"loss_ce": self.loss_classes(layer, targets)}
            if layer.prediction.mask_logits is not None:
                terms["loss_mask"], terms["loss_dice"] = self.loss_masks(layer, targets)
            if box_terms is not None:
                terms["loss_bbox"], terms["loss_giou"] = box_terms
            losses |= {layer.pattern.format(name): term for name, term in terms.items()}
        return losses

    def _supervised(self, outputs: Outputs) -> dict[str, Prediction]:
        """Return the predictions that are matched by the pattern of their losses' names: last layer, those before, encoder."""
        supervised: dict[str, Prediction] = {"{}": outputs}
        if self.config.deep_supervision:
            supervised |= {f"oldm_{{}}_{layer}": prediction for layer, prediction in enumerate(outputs.interaction)}
            supervised |= {f"{{}}_{layer}": prediction for layer, prediction in enumerate(outputs.auxiliary)}
        if outputs.encoder is not None:
            supervised["{}_interm"] = outputs.encoder
        return supervised

    def _denoising_layers(self, outputs: Outputs) -> dict[str, int]:
        """Return which denoising predictions are supervised, by the pattern of their losses' names."""
        if self.config.denoising.mode == "no":
            return {}
        # The official criterion leaves the prediction before layer 1 out where there is no two-stage selection.
        first = 0 if outputs.encoder is not None else 1
        layers = len(outputs.auxiliary) if self.config.deep_supervision else 0
        return {"{}_dn": -1} | {f"{{}}_dn_{layer}": layer for layer in range(first, layers)}

    def _denoised(self, prediction: Prediction) -> Prediction:
        """Return that part of a prediction which is denoised."""
        if self.config.denoising.mode == "box":
            return Prediction(prediction.class_logits, prediction.boxes, None)
        return prediction

    def _no_denoising(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return zeros for a batch without denoising queries: logs and workers want the same names in every step."""
        terms = [name for name in self.weights if self.config.denoising.mode == "seg" or name not in _MASK_TERMS]
        zero = outputs.class_logits.new_zeros(())
        return {pattern.format(name): zero for pattern in self._denoising_layers(outputs) for name in terms}


def _image_size(outputs: Outputs) -> tuple[int, int] | None:
    """Height and width of the padded image, where the outputs say so."""
    if outputs.mask_logits is None:
        return None
    height, width = outputs.mask_logits.shape[-2:]
    return _MASK_STRIDE * height, _MASK_STRIDE * width
