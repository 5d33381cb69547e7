"""Wire a Mask2Former from its config."""

from __future__ import annotations

from engine.model.backbones import build_backbone
from engine.model.components import Component, build_component
from engine.model.families.mask2former.config import Mask2FormerConfig, MaskedDecoderComponent, MaskedDecoderConfig
from engine.model.families.mask2former.decoder import MaskedDecoder, MaskHeads
from engine.model.families.mask2former.model import Mask2Former
from engine.model.families.maskdino.pixel_decoder import build_pixel_decoder


def build_mask2former(config: Mask2FormerConfig) -> Mask2Former:
    """Build a Mask2Former with fresh weights."""
    backbone = build_backbone(config.backbone)
    dim = config.hidden_dim
    return Mask2Former(
        config,
        backbone=backbone,
        pixel_decoder=build_pixel_decoder(config.pixel_decoder, channels=backbone.channels, dim=dim),
        decoder=_decoder(config.decoder, dim=dim, levels=config.pixel_decoder.levels),
        heads=MaskHeads(dim=dim, mask_dim=config.pixel_decoder.mask_dim, num_classes=config.num_classes),
    )


def _decoder(config: MaskedDecoderConfig | MaskedDecoderComponent, *, dim: int, levels: int) -> MaskedDecoder | Component:
    if isinstance(config, MaskedDecoderComponent):
        return build_component(config, dim=dim, levels=levels, queries=config.queries)
    return MaskedDecoder(config, dim=dim, levels=levels)
