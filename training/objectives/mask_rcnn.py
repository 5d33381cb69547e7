"""What the baseline is trained for: torchvision's losses of Mask R-CNN, the boxes by any measure of overlap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import fastrcnn_loss, maskrcnn_loss

from engine.model.families.mask_rcnn.model import MaskRcnn
from training.losses import LossConfig, Target
from training.losses.box_losses import BOX_AGREEMENT, cxcywh_to_xyxy
from training.objectives.objective import Objective


class MaskRcnnObjective(Objective):
    """Compute the losses of a Mask R-CNN on a batch.

    Each weighs 1, as in torchvision. Where `LossConfig.box_loss` names a measure of overlap, it takes the place of the smooth
    L1 loss of the boxes in the second stage, with the weight that it has in Mask DINO; proposals keep theirs. Torchvision's
    sampling of boxes knows no ignored ground: here it counts as background.
    """

    def __init__(self, model: MaskRcnn, losses: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.losses = losses

    @classmethod
    def build(cls, model: MaskRcnn, losses: LossConfig, *, auxiliary_loss: float = 0.0) -> MaskRcnnObjective:
        return cls(model, losses)

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the losses of images (B, 3, H, W) in 0..255 by name; their sum is what is minimised.

        They are ``loss_objectness`` and ``loss_rpn_box_reg`` of the proposals, ``loss_classifier``, ``loss_box_reg``,
        ``loss_mask``.
        """
        wanted = [_in_pixels(target) for target in targets]
        batch, features = self.model.see(images)
        proposals, losses = self.model.rpn(batch, features, wanted)
        return {**self._second_stage(features, proposals, batch.image_sizes, wanted), **losses}

    def _second_stage(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Sample boxes of the proposals and see what the heads make of them, as torchvision does in training."""
        heads = self.model.roi_heads
        boxes, matches, labels, offsets = heads.select_training_samples(proposals, targets)
        logits, found = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, sizes)))
        classification, regression = fastrcnn_loss(logits, found, labels, offsets)
        if self.losses.box_loss is not None:
            regression = self._box_loss(found, torch.cat(boxes), torch.cat(labels), torch.cat(offsets))

        shown = [each > 0 for each in labels]  # the others show the background
        kept = [each[show] for each, show in zip(boxes, shown, strict=True)]
        drawn = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, kept, sizes)))
        masks, classes = ([target[name] for target in targets] for name in ("masks", "labels"))
        indices = [each[show] for each, show in zip(matches, shown, strict=True)]
        return {
            "loss_classifier": classification,
            "loss_box_reg": regression,
            "loss_mask": maskrcnn_loss(drawn, kept, masks, classes, indices),
        }

    def _box_loss(self, found: Tensor, boxes: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
        """Compare boxes by their overlap; as in torchvision, the sum is divided by the number of boxes of any class.

        Args:
            found: (N, C * 4) predicted offsets for each class, the background among them.
            boxes: (N, 4) that offsets are of, x0, y0, x1, y1.
            labels: (N,) classes, 0 for background.
            offsets: (N, 4) wanted ones.
        """
        shown = labels > 0
        coder = self.model.roi_heads.box_coder
        of_class = found.reshape(len(found), -1, 4)[shown, labels[shown]]
        # In bfloat16, places would be off by pixels.
        predicted, wanted = (coder.decode_single(each.float(), boxes[shown]) for each in (of_class, offsets[shown]))
        agreement = BOX_AGREEMENT[self.losses.box_loss](predicted, wanted)
        return self.losses.weights.giou * (1 - agreement).sum() / len(labels)


def _in_pixels(target: Target) -> dict[str, Tensor]:
    """Boxes as corners in pixels, classes from 1 on. Instances whose box is empty are left out: they teach nothing."""
    height, width = target.masks.shape[-2:]
    boxes = cxcywh_to_xyxy(target.boxes) * target.boxes.new_tensor([width, height, width, height])
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    # Class 0 is torchvision's background.
    return {"boxes": boxes[kept], "labels": target.labels[kept] + 1, "masks": target.masks[kept].byte()}
