"""Mask DINO as a family of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from engine.model.families.family import COMMON_TENSORLESS, Family, InferenceParts, Task, segmentation_tasks
from engine.model.families.maskdino.config import MaskDinoConfig

if TYPE_CHECKING:
    from torch import Tensor

    from engine.model.checkpoints.catalogue import PublishedModel
    from engine.model.families.maskdino.model import MaskDino


class MaskDinoFamily(Family[MaskDinoConfig]):
    """Mask DINO (arXiv 2206.02777)."""

    kind = "mask_dino"
    title = "Mask DINO"
    config = MaskDinoConfig
    class_heads = r"heads\.classify\..*|label_embedding\..*|criterion\.empty_weight"
    tensorless = COMMON_TENSORLESS | {
        *("task", "things", "panoptic_temperature", "decoder.queries", "decoder.box_initialisation")
    }

    def tasks(self, config: MaskDinoConfig) -> frozenset[Task]:
        return segmentation_tasks(config)

    def score_bias(self, config: MaskDinoConfig) -> str | None:
        return "heads.classify.bias" if config.classification == "sigmoid" else None

    def summary(self, config: MaskDinoConfig) -> str:
        queries = f"{config.decoder.queries} {'' if config.decoder.two_stage else 'learned '}queries"
        return f"Mask DINO for {config.task} segmentation, {config.pixel_decoder.levels} levels, {queries}"

    def build(self, config: MaskDinoConfig) -> MaskDino:
        from engine.model.families.maskdino.build import build_mask_dino

        return build_mask_dino(config)

    def recognises(self, names: Collection[str]) -> bool:
        if any(name.startswith("sem_seg_head.predictor.oldm.") for name in names):
            return False  # DI-MaskDINO, which has all names of Mask DINO and more
        return any(name.startswith("sem_seg_head.predictor.decoder.") for name in names)

    def published_config(
        self, tensors: Mapping[str, Tensor], *, preset_name: str | None = None, known: PublishedModel | None = None
    ) -> MaskDinoConfig:
        from engine.model.families.maskdino.published_config import published_config

        return published_config(tensors, preset_name=preset_name, known=known)

    def published_names(self, name: str, config: MaskDinoConfig) -> list[str]:
        from engine.model.families.maskdino.published_names import published_names

        return published_names(name, layers=config.decoder.layers)

    def published_constants(self, model: MaskDino) -> dict[str, Tensor]:
        from engine.model.families.maskdino.published_names import published_constants

        return published_constants(model)

    def inference_parts(self, model: MaskDino) -> InferenceParts:
        return InferenceParts(
            half=(model.backbone, model.pixel_decoder, model.decoder),
            packed=(model.pixel_decoder, model.query_selection, model.decoder, model.heads),
            compiled="last_layer",
        )
