"""DI-MaskDINOs that are built in a moment, with every kind of part that the published one has."""

from __future__ import annotations

import torch

import engine
from engine.model.config import PixelDecoderConfig, ResNetConfig
from engine.model.families.dimaskdino.config import BalancedDecoderConfig, DiMaskDinoConfig
from engine.model.families.dimaskdino.model import DiMaskDino
from engine.model.families.registry import family_of
from tests.parity_weights import fill

SMALL_DI = DiMaskDinoConfig(
    num_classes=5,
    backbone=ResNetConfig(depths=(1, 1, 1, 1), widths=(8, 16, 24, 32)),
    hidden_dim=32,
    pixel_decoder=PixelDecoderConfig(layers=1, feedforward=48, mask_dim=32),
    decoder=BalancedDecoderConfig(first_queries=40, queries=24, guiding_tokens=8, layers=3, feedforward=40),
    detections_per_image=20,
)
# The official code knows no other width than 256.
OFFICIAL_WIDTH = SMALL_DI.model_copy(
    update={
        "hidden_dim": 256,
        "pixel_decoder": PixelDecoderConfig(layers=2, feedforward=64),
        "decoder": BalancedDecoderConfig(first_queries=60, queries=40, guiding_tokens=10, layers=3, feedforward=64),
    }
)


def filled(config: DiMaskDinoConfig, suffix: str) -> DiMaskDino:
    """Build a model with the weights that the rule gives to their published names."""
    model = engine.build_model(config)
    family, weights = family_of(config), {}
    for name, tensor in model.state_dict().items():
        names = family.published_names(name, config)
        weights |= dict.fromkeys(names, torch.from_numpy(fill(min(names), tuple(tensor.shape), suffix)))
    engine.load_official(model, weights)
    return model.eval()
