"""Mask R-CNN as a family of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from engine.model.families.family import COMMON_TENSORLESS, Family
from engine.model.families.mask_rcnn.config import MaskRcnnConfig

if TYPE_CHECKING:
    from torch import Tensor

    from engine.model.checkpoints.catalogue import PublishedModel
    from engine.model.families.mask_rcnn.model import MaskRcnn


class MaskRcnnFamily(Family[MaskRcnnConfig]):
    """Mask R-CNN (arXiv 1703.06870), published by torchvision as ``maskrcnn_resnet50_fpn_v2``."""

    kind = "mask_rcnn"
    title = "Mask R-CNN"
    config = MaskRcnnConfig
    class_heads = r"roi_heads\.(box_predictor|mask_predictor\.mask_fcn_logits)\..*"
    tensorless = COMMON_TENSORLESS | {"anchor_sizes"}

    def summary(self, config: MaskRcnnConfig) -> str:
        necks = {"panet": " with PANet's path", "bifpn": " with BiFPN"}
        return f"Mask R-CNN{necks.get(config.neck.kind, '')}"

    def build(self, config: MaskRcnnConfig) -> MaskRcnn:
        from engine.model.families.mask_rcnn.build import build_mask_rcnn

        return build_mask_rcnn(config)

    def recognises(self, names: Collection[str]) -> bool:
        return "roi_heads.mask_predictor.mask_fcn_logits.weight" in names

    def published_config(
        self, tensors: Mapping[str, Tensor], *, preset_name: str | None = None, known: PublishedModel | None = None
    ) -> MaskRcnnConfig:
        from engine.model.families.mask_rcnn.published_config import published_config

        return published_config(tensors)

    def published_names(self, name: str, config: MaskRcnnConfig) -> list[str]:
        return [f"backbone.{name}" if name.startswith("fpn.") else name]  # torchvision's pyramid is part of its backbone
