"""A Mask R-CNN that is built and trained in moments."""

from __future__ import annotations

from engine.model.config import ResNetConfig
from engine.model.families.mask_rcnn.config import MaskRcnnConfig

SMALL_MASK_RCNN = MaskRcnnConfig(
    num_classes=2,
    backbone=ResNetConfig(block="basic", depths=(1, 1, 1, 1), widths=(8, 16, 24, 32), norm="batch"),
    hidden_dim=16,
    box_features=32,
    anchor_sizes=(12, 24, 48, 96, 192),
    detections_per_image=20,
)
