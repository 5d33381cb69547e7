"""Mask R-CNN, the baseline: torchvision's parts around a backbone of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.transform import resize_boxes

from engine.model.families.family_model import FamilyModel
from engine.model.host_transfer import finish_copies, start_copy
from engine.model.postprocess import ImageInstances

if TYPE_CHECKING:
    from torchvision.models.detection.roi_heads import RoIHeads
    from torchvision.models.detection.rpn import RegionProposalNetwork

    from engine.model.families.mask_rcnn.config import MaskRcnnConfig

_LEAST_SCORE = 0.05  # torchvision's: below it there are hundreds of boxes an image, and no building


class MaskRcnn(FamilyModel):
    """Mask R-CNN (arXiv 1703.06870) as torchvision builds its second version, ``maskrcnn_resnet50_fpn_v2`` (arXiv 2111.11429).

    It differs in two ways: images are taken at their own size, not enlarged to 800 pixels; and the feature pyramid stands
    beside the backbone, not around it, so that its parameters are ``fpn.*`` where torchvision's are ``backbone.fpn.*``.
    Another neck in its place keeps the name.
    """

    def __init__(
        self,
        config: MaskRcnnConfig,
        *,
        backbone: nn.Module,
        fpn: nn.Module,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
    ) -> None:
        super().__init__(config, backbone=backbone)
        self.fpn = fpn
        self.rpn = rpn
        self.roi_heads = roi_heads

    @torch.inference_mode()
    def instances(
        self,
        images: Tensor | Sequence[Tensor],
        *,
        count: int | None = None,
        threshold: float = 0.0,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[ImageInstances]:
        """Find the instances of images; see `engine.model.families.maskdino.model.MaskDino.instances`.

        Scores are class probabilities; nothing below 0.05 is found, however low the threshold.
        """
        self.roi_heads.score_thresh = max(threshold, _LEAST_SCORE)
        self.roi_heads.detections_per_img = self.config.detections_per_image if count is None else count
        batch, features = self.see(images)
        proposals, _ = self.rpn(batch, features)
        found, _ = self.roi_heads(features, proposals, batch.image_sizes)
        sizes = batch.image_sizes
        copies = [
            [start_copy(tensor) for tensor in self._drawn(entry, size, output_size)]
            for entry, size, output_size in zip(found, sizes, output_sizes or sizes, strict=True)
        ]
        finish_copies(batch.tensors.device)
        return [ImageInstances(*copied) for copied in copies]

    def see(self, images: Tensor | Sequence[Tensor]) -> tuple[ImageList, dict[str, Tensor]]:
        """Return the batch with the images' own sizes, and the pyramid's maps (B, C, H, W) by name.

        Args:
            images: (B, 3, H, W) RGB in 0..255, or a list of (3, H, W) of any sizes.
        """
        batch = self.prepare(images)
        sizes = [tuple(image.shape[-2:]) for image in images]
        return ImageList(batch, sizes), self.fpn(self.backbone(batch))

    @staticmethod
    def _drawn(found: dict[str, Tensor], size: tuple[int, int], output_size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Scores, labels, boxes and masks of an image's instances, on the device."""
        boxes = resize_boxes(found["boxes"], size, output_size)
        masks = paste_masks_in_image(found["masks"], boxes, output_size)[:, 0] > 0.5  # (N, H, W)
        return found["scores"], found["labels"] - 1, boxes, masks
