"""Wire a model from its config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import ArgumentError
from engine.model.backbones import build_backbone
from engine.model.config import AnyModelConfig, MaskRcnnConfig, ModelConfig
from engine.model.families.maskdino.model import MaskDino
from engine.model.families.maskdino.pixel_decoder import PixelDecoder
from engine.model.families.maskdino.query_selection import QuerySelection
from engine.model.families.maskdino.transformer_decoder import TransformerDecoder
from engine.model.layers.heads import PredictionHeads
from engine.model.presets import preset

if TYPE_CHECKING:
    from engine.model.families.mask_rcnn.model import MaskRcnn


def build_model(model: str | AnyModelConfig, *, num_classes: int | None = None) -> MaskDino | MaskRcnn:
    """Build a model with fresh weights.

    Args:
        model: the name of a preset, or a config.
        num_classes: instead of the preset's own number.

    Raises:
        ArgumentError: where no preset has that name, or there would be no class.
    """
    if num_classes is not None and num_classes < 1:
        raise ArgumentError(f"num_classes is {num_classes}.", hint="A model has at least 1 class.")
    if isinstance(model, str):
        config = preset(model, num_classes=num_classes)
    else:
        config = model if num_classes is None else model.model_copy(update={"num_classes": num_classes})
    if isinstance(config, MaskRcnnConfig):
        from engine.model.families.mask_rcnn.build import build_mask_rcnn

        return build_mask_rcnn(config)
    return _build_mask_dino(config)


def _build_mask_dino(config: ModelConfig) -> MaskDino:
    backbone = build_backbone(config.backbone)
    dim = config.hidden_dim
    return MaskDino(
        config,
        backbone=backbone,
        pixel_decoder=PixelDecoder(config.pixel_decoder, channels=backbone.channels, dim=dim),
        query_selection=QuerySelection(config.decoder, dim=dim),
        decoder=TransformerDecoder(config.decoder, dim=dim, levels=config.pixel_decoder.levels),
        heads=PredictionHeads(dim=dim, mask_dim=config.pixel_decoder.mask_dim, num_classes=config.num_classes),
    )
