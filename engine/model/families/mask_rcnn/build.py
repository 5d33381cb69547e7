"""Wire a Mask R-CNN from its config, with the heads of torchvision's second version."""

from __future__ import annotations

import math

from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from engine.model.backbones import STRIDES, build_backbone
from engine.model.families.mask_rcnn.config import MaskRcnnConfig
from engine.model.families.mask_rcnn.model import MaskRcnn
from engine.model.families.mask_rcnn.necks import build_neck

_ASPECT_RATIOS = (0.5, 1.0, 2.0)
_CONVOLUTIONS = 4  # in the box head and in the mask head
_BOX_CELLS, _MASK_CELLS = 7, 14  # side of what is cut out of a map for a box and for its mask
# A box of seven times the smallest anchor's side is looked at in the map of stride 16 (224 and 32 in arXiv 1612.03144).
_CANONICAL_ANCHORS, _CANONICAL_LEVEL = 7, 4


def build_mask_rcnn(config: MaskRcnnConfig) -> MaskRcnn:
    """Build a Mask R-CNN with fresh weights; the thresholds and numbers that no config names are torchvision's."""
    backbone = build_backbone(config.backbone)
    dim, classes = config.hidden_dim, config.num_classes + 1  # class 0 is the background
    anchors = AnchorGenerator(tuple((size,) for size in config.anchor_sizes), (_ASPECT_RATIOS,) * len(config.anchor_sizes))
    rpn = RegionProposalNetwork(
        anchors,
        RPNHead(dim, len(_ASPECT_RATIOS), conv_depth=2),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2000, "testing": 1000},
        post_nms_top_n={"training": 2000, "testing": 1000},
        nms_thresh=0.7,
    )
    box_head = FastRCNNConvFCHead(
        (dim, _BOX_CELLS, _BOX_CELLS), [dim] * _CONVOLUTIONS, [config.box_features], norm_layer=nn.BatchNorm2d
    )
    roi_heads = RoIHeads(
        _pooling(config, _BOX_CELLS),
        box_head,
        FastRCNNPredictor(config.box_features, classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=512,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.0,
        nms_thresh=0.5,
        detections_per_img=config.detections_per_image,
        mask_roi_pool=_pooling(config, _MASK_CELLS),
        mask_head=MaskRCNNHeads(dim, [dim] * _CONVOLUTIONS, 1, norm_layer=nn.BatchNorm2d),
        mask_predictor=MaskRCNNPredictor(dim, dim, classes),
    )
    neck = build_neck(config.neck, backbone.channels, dim)
    return MaskRcnn(config, backbone=backbone, fpn=neck, rpn=rpn, roi_heads=roi_heads)


def _pooling(config: MaskRcnnConfig, cells: int) -> MultiScaleRoIAlign:
    pooling = MultiScaleRoIAlign(list(STRIDES), output_size=cells, sampling_ratio=2)
    # Left to itself it guesses the strides from the first image that it sees, which padding may mislead.
    strides = list(STRIDES.values())
    pooling.scales = [1 / stride for stride in strides]
    first, last = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
    pooling.map_levels = initLevelMapper(first, last, _CANONICAL_ANCHORS * config.anchor_sizes[0], _CANONICAL_LEVEL)
    return pooling
