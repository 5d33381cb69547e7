"""The training loss of Mask DINO: class, mask, dice, box and GIoU terms of every layer (arXiv:2206.02777)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.denoising_queries import DenoisingQueries
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


class Criterion(nn.Module):
    """Match each layer's predictions to the targets and measure how far they are off.

    The losses come unweighted under the names of the published logs: ``loss_ce``, ``loss_mask``, ``loss_dice``,
    ``loss_bbox``, ``loss_giou`` of the last layer; with ``_0`` .. ``_8`` of those before it (0 is the prediction before
    layer 1), with ``_interm`` of the encoder's proposals, and with ``_dn``, ``_dn_0`` .. of the denoising queries.
    All but cross-entropy are sums over the batch, divided by the number of targets. Queries without a target that predict
    something on ignored ground are left out of the classification loss.
    """

    def __init__(self, *, num_classes: int, config: LossConfig | None = None, random: RandomSource | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.config = config or LossConfig()
        self.random = random or TorchRandom()
        self.matcher = HungarianMatcher(
            costs=self.config.costs,
            points=self.config.points,
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
        batch, device = TargetBatch.of(targets, size=_image_size(outputs)), outputs.boxes.device
        supervised, ignored = self._supervised(outputs), ignored_share(batch)
        matches = self.matcher(list(supervised.values()), batch)
        losses: dict[str, Tensor] = {}
        with torch.autocast(device.type, enabled=False):
            average = average_over_workers(len(batch), device)
            matched = matched_pairs(matches, batch.counts, device)
            for (suffix, prediction), pairs in zip(supervised.items(), matched, strict=True):
                left_out = None if ignored is None else on_ignored_ground(prediction, ignored)
                losses |= self._terms(suffix, prediction, batch, pairs, average, left_out)
            if denoising is None:
                return losses | self._no_denoising(outputs)
            pairs = denoising_pairs(denoising, batch.counts, device)
            for suffix, layer in self._denoising_layers(outputs).items():
                prediction = outputs.denoising[layer]
                if self.config.denoising.mode == "box":
                    prediction = Prediction(prediction.class_logits, prediction.boxes, None)
                losses |= self._terms(suffix, prediction, batch, pairs, average * denoising.groups)
        return losses

    def weight(self, name: str) -> float:
        """Return the weight of a loss by its name, whichever layer it belongs to."""
        return self.weights["_".join(name.split("_")[:2])]

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Add the losses up, weighted."""
        return torch.stack([self.weight(name) * loss for name, loss in losses.items()]).sum()

    def loss_classes(
        self, prediction: Prediction, targets: TargetBatch, pairs: Pairs, divisor: Tensor, left_out: Tensor | None = None
    ) -> Tensor:
        """Compare the class logits of all queries, those without a target too: focal loss or cross-entropy.

        ``left_out`` (B, Q) bool says which of the queries without a target have no part in it.
        """
        logits, labels = at_least_float32(prediction.class_logits), targets.labels[pairs.target]
        if left_out is not None:
            left_out = left_out.index_put((pairs.image, pairs.query), left_out.new_zeros(()))
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
        wanted[pairs.image, pairs.query, labels] = 1
        loss = focal_loss(logits, wanted, alpha=self.config.focal_alpha, gamma=self.config.focal_gamma)
        if left_out is not None:
            loss = loss.masked_fill(left_out[..., None], 0)
        return loss.sum() / divisor

    def loss_masks(self, prediction: Prediction, targets: TargetBatch, pairs: Pairs, divisor: Tensor) -> tuple[Tensor, Tensor]:
        """Compare the masks of the pairs at the points where they are least certain: cross-entropy, dice."""
        mask_logits = at_least_float32(prediction.mask_logits[pairs.image, pairs.query])  # (K, H/4, W/4)
        points = choose_points(
            mask_logits,
            count=self.config.points,
            oversample_ratio=self.config.oversample_ratio,
            importance_ratio=self.config.importance_sample_ratio,
            random=self.random,
        )
        wanted = targets.sampler(pairs.target, points, mask_logits.dtype)
        sampled = sample_points(mask_logits[:, None], points)[:, 0]
        return mask_cross_entropy(sampled, wanted).sum() / divisor, dice(sampled, wanted).sum() / divisor

    def loss_boxes(self, prediction: Prediction, targets: TargetBatch, pairs: Pairs, divisor: Tensor) -> tuple[Tensor, Tensor]:
        """Compare the boxes of the pairs: L1 distance, one minus the overlap that the config asks for."""
        boxes = at_least_float32(prediction.boxes[pairs.image, pairs.query])
        wanted = targets.boxes[pairs.target]
        overlap = BOX_AGREEMENT[self.config.box_loss](cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(wanted))
        return l1_distance(boxes, wanted).sum() / divisor, (1 - overlap).sum() / divisor

    def _terms(
        self,
        suffix: str,
        prediction: Prediction,
        targets: TargetBatch,
        pairs: Pairs,
        divisor: Tensor,
        left_out: Tensor | None = None,
    ) -> dict[str, Tensor]:
        terms = {"loss_ce": self.loss_classes(prediction, targets, pairs, divisor, left_out)}
        if prediction.mask_logits is not None:
            terms["loss_mask"], terms["loss_dice"] = self.loss_masks(prediction, targets, pairs, divisor)
        terms["loss_bbox"], terms["loss_giou"] = self.loss_boxes(prediction, targets, pairs, divisor)
        return {name + suffix: term for name, term in terms.items()}

    def _supervised(self, outputs: Outputs) -> dict[str, Prediction]:
        """Name the predictions that are matched: the last layer's, those before it, the encoder's."""
        supervised: dict[str, Prediction] = {"": outputs}
        if self.config.deep_supervision:
            supervised |= {f"_{layer}": prediction for layer, prediction in enumerate(outputs.auxiliary)}
        if outputs.encoder is not None:
            supervised["_interm"] = outputs.encoder
        return supervised

    def _denoising_layers(self, outputs: Outputs) -> dict[str, int]:
        """Say which denoising predictions are supervised, by the suffix of their losses' names."""
        if self.config.denoising.mode == "no":
            return {}
        # The official criterion leaves the prediction before layer 1 out where there is no two-stage selection.
        first = 0 if outputs.encoder is not None else 1
        layers = len(outputs.auxiliary) if self.config.deep_supervision else 0
        return {"_dn": -1} | {f"_dn_{layer}": layer for layer in range(first, layers)}

    def _no_denoising(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return zeros for a batch without denoising queries: logs and workers want the same names in every step."""
        terms = [name for name in self.weights if self.config.denoising.mode == "seg" or name not in _MASK_TERMS]
        zero = outputs.boxes.new_zeros(())
        return {name + suffix: zero for suffix in self._denoising_layers(outputs) for name in terms}


def _image_size(outputs: Outputs) -> tuple[int, int] | None:
    """Height and width of the padded image, where the outputs say so."""
    if outputs.mask_logits is None:
        return None
    height, width = outputs.mask_logits.shape[-2:]
    return _MASK_STRIDE * height, _MASK_STRIDE * width
