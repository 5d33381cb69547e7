"""Wire a DI-MaskDINO from its config."""

from __future__ import annotations

from engine.model.backbones import build_backbone
from engine.model.families.dimaskdino.config import DiMaskDinoConfig
from engine.model.families.dimaskdino.decoder import BalanceAwareDecoder
from engine.model.families.dimaskdino.double_selection import DoubleSelection
from engine.model.families.dimaskdino.model import DiMaskDino
from engine.model.families.maskdino.pixel_decoder import build_pixel_decoder
from engine.model.layers.heads import PredictionHeads


def build_di_mask_dino(config: DiMaskDinoConfig) -> DiMaskDino:
    """Build a DI-MaskDINO with fresh weights."""
    backbone = build_backbone(config.backbone)
    dim = config.hidden_dim
    return DiMaskDino(
        config,
        backbone=backbone,
        pixel_decoder=build_pixel_decoder(config.pixel_decoder, channels=backbone.channels, dim=dim),
        query_selection=DoubleSelection(config.decoder, dim=dim),
        decoder=BalanceAwareDecoder(config.decoder, dim=dim, levels=config.pixel_decoder.levels),
        heads=PredictionHeads(dim=dim, mask_dim=config.pixel_decoder.mask_dim, num_classes=config.num_classes),
    )
