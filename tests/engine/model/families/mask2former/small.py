"""A Mask2Former that is built in a moment, with every kind of part that the published one has."""

from __future__ import annotations

from engine.model.config import DinatConfig, PixelDecoderConfig
from engine.model.families.mask2former.config import Mask2FormerConfig, MaskedDecoderConfig

SMALL = Mask2FormerConfig(
    num_classes=5,
    task="panoptic",
    things=(0, 1, 2),
    hidden_dim=64,
    backbone=DinatConfig(
        embed_dim=16,
        depths=(2, 2, 3, 2),
        heads=(1, 2, 2, 4),
        kernel=5,
        dilations=((1, 6), (1, 3), (1, 2, 1), (1, 1)),
    ),
    pixel_decoder=PixelDecoderConfig(
        features=("res5", "res4", "res3"), levels=3, layers=2, feedforward=48, heads=4, mask_dim=64
    ),
    decoder=MaskedDecoderConfig(queries=30, layers=7, feedforward=80, heads=4),
    detections_per_image=20,
)
SMALL_SEMANTIC = SMALL.model_copy(update={"task": "semantic", "things": ()})
