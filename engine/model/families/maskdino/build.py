"""Wire a Mask DINO from its config."""

from __future__ import annotations

from engine.model.backbones import build_backbone
from engine.model.families.maskdino.config import DecoderConfig, MaskDinoConfig
from engine.model.families.maskdino.model import MaskDino
from engine.model.families.maskdino.pixel_decoder import PixelDecoder
from engine.model.families.maskdino.query_selection import LearnedQueries, QuerySelection
from engine.model.families.maskdino.transformer_decoder import TransformerDecoder
from engine.model.layers.heads import PredictionHeads


def build_mask_dino(config: MaskDinoConfig) -> MaskDino:
    """Build a Mask DINO with fresh weights."""
    backbone = build_backbone(config.backbone)
    dim = config.hidden_dim
    softmax = config.classification == "softmax"
    return MaskDino(
        config,
        backbone=backbone,
        pixel_decoder=PixelDecoder(config.pixel_decoder, channels=backbone.channels, dim=dim),
        query_selection=_queries(config.decoder, dim=dim),
        decoder=TransformerDecoder(config.decoder, dim=dim, levels=config.pixel_decoder.levels),
        heads=PredictionHeads(
            dim=dim,
            mask_dim=config.pixel_decoder.mask_dim,
            num_classes=config.num_classes,
            no_object=softmax,
        ),
        classification=config.classification,
        temperature=None if softmax else config.panoptic_temperature,
    )


def _queries(config: DecoderConfig, *, dim: int) -> QuerySelection | LearnedQueries:
    if config.two_stage:
        return QuerySelection(dim=dim, queries=config.queries, box_initialisation=config.box_initialisation)
    return LearnedQueries(dim=dim, queries=config.queries)
