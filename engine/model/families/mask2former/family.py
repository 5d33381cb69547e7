"""Mask2Former as a family of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from engine.model.families.family import COMMON_TENSORLESS, Family, Task, segmentation_tasks
from engine.model.families.mask2former.config import Mask2FormerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from engine.model.checkpoints.catalogue import PublishedModel
    from engine.model.families.mask2former.model import Mask2Former


class Mask2FormerFamily(Family[Mask2FormerConfig]):
    """Mask2Former (arXiv 2112.01527), published with DiNAT-L (arXiv 2209.15001) among other backbones."""

    kind = "mask2former"
    title = "Mask2Former"
    config = Mask2FormerConfig
    class_heads = r"heads\.classify\..*|criterion\.empty_weight"
    tensorless = COMMON_TENSORLESS | {"task", "things", "backbone.dilations"}

    def tasks(self, config: Mask2FormerConfig) -> frozenset[Task]:
        return segmentation_tasks(config)

    def summary(self, config: Mask2FormerConfig) -> str:
        return f"Mask2Former for {config.task} segmentation, {config.decoder.queries} queries"

    def build(self, config: Mask2FormerConfig) -> Mask2Former:
        from engine.model.families.mask2former.build import build_mask2former

        return build_mask2former(config)

    def recognises(self, names: Collection[str]) -> bool:
        return any(name.startswith("sem_seg_head.predictor.transformer_ffn_layers.") for name in names)

    def published_config(
        self, tensors: Mapping[str, Tensor], *, preset_name: str | None = None, known: PublishedModel | None = None
    ) -> Mask2FormerConfig:
        from engine.model.families.mask2former.published_config import published_config

        return published_config(tensors, preset_name=preset_name)

    def published_names(self, name: str, config: Mask2FormerConfig) -> list[str]:
        from engine.model.families.mask2former.published_names import published_name

        return [published_name(name)]

    def published_constants(self, model: Mask2Former) -> dict[str, Tensor]:
        from engine.model.families.maskdino.published_names import published_constants

        return published_constants(model)
