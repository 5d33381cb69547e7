"""DI-MaskDINO as a family of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from engine.model.families.dimaskdino.config import DiMaskDinoConfig
from engine.model.families.family import COMMON_TENSORLESS, Family, InferenceParts

if TYPE_CHECKING:
    from torch import Tensor

    from engine.model.checkpoints.catalogue import PublishedModel
    from engine.model.families.dimaskdino.model import DiMaskDino


class DiMaskDinoFamily(Family[DiMaskDinoConfig]):
    """DI-MaskDINO (arXiv 2410.16707)."""

    kind = "di_mask_dino"
    title = "DI-MaskDINO"
    config = DiMaskDinoConfig
    class_heads = r"heads\.classify\..*|label_embedding\..*|criterion\.empty_weight"
    tensorless = COMMON_TENSORLESS | {
        "task",
        "things",
        "decoder.first_queries",
        "decoder.queries",
        "decoder.guiding_tokens",
        "decoder.box_initialisation",
    }

    def score_bias(self, config: DiMaskDinoConfig) -> str:
        return "heads.classify.bias"

    def summary(self, config: DiMaskDinoConfig) -> str:
        decoder = config.decoder
        return f"DI-MaskDINO, {config.pixel_decoder.levels} levels, {decoder.queries} of {decoder.first_queries} queries"

    def build(self, config: DiMaskDinoConfig) -> DiMaskDino:
        from engine.model.families.dimaskdino.build import build_di_mask_dino

        return build_di_mask_dino(config)

    def recognises(self, names: Collection[str]) -> bool:
        return any(name.startswith("sem_seg_head.predictor.oldm.") for name in names)

    def published_config(
        self, tensors: Mapping[str, Tensor], *, preset_name: str | None = None, known: PublishedModel | None = None
    ) -> DiMaskDinoConfig:
        from engine.model.families.dimaskdino.published_config import published_config

        return published_config(tensors, preset_name=preset_name)

    def published_names(self, name: str, config: DiMaskDinoConfig) -> list[str]:
        from engine.model.families.dimaskdino.published_names import published_names

        return published_names(name, config.decoder)

    def published_constants(self, model: DiMaskDino) -> dict[str, Tensor]:
        from engine.model.families.maskdino.published_names import published_constants

        return published_constants(model)

    def inference_parts(self, model: DiMaskDino) -> InferenceParts:
        return InferenceParts(
            half=(model.backbone, model.pixel_decoder, model.decoder),
            packed=(model.pixel_decoder, model.query_selection, model.decoder, model.heads),
            compiled="last_layer",
        )
