"""Wire a Mask DINO from its config."""

from __future__ import annotations

from engine.model.backbones import build_backbone
from engine.model.components import Component, build_component
from engine.model.families.maskdino.config import DecoderComponent, DecoderConfig, MaskDinoConfig, QueriesConfig
from engine.model.families.maskdino.model import MaskDino
from engine.model.families.maskdino.pixel_decoder import build_pixel_decoder
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
        pixel_decoder=build_pixel_decoder(config.pixel_decoder, channels=backbone.channels, dim=dim),
        query_selection=_queries(config.decoder, dim=dim),
        decoder=_decoder(config.decoder, dim=dim, levels=config.pixel_decoder.levels),
        heads=PredictionHeads(
            dim=dim,
            mask_dim=config.pixel_decoder.mask_dim,
            num_classes=config.num_classes,
            no_object=softmax,
        ),
        classification=config.classification,
        temperature=None if softmax else config.panoptic_temperature,
    )


def _decoder(config: DecoderConfig | DecoderComponent, *, dim: int, levels: int) -> TransformerDecoder | Component:
    build = build_component if isinstance(config, DecoderComponent) else TransformerDecoder
    return build(config, dim=dim, levels=levels)


def _queries(config: QueriesConfig, *, dim: int) -> QuerySelection | LearnedQueries:
    if config.two_stage:
        return QuerySelection(dim=dim, queries=config.queries, box_initialisation=config.box_initialisation)
    return LearnedQueries(dim=dim, queries=config.queries)
