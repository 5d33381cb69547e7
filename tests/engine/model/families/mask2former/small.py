"""A Mask2Former that is built in a moment, with every kind of part that the published one has."""

from __future__ import annotations

import torch

import engine
from engine.model.checkpoints.segmentation_classes import COCO_THINGS
from engine.model.config import DinatConfig, PixelDecoderConfig
from engine.model.families.mask2former.config import Mask2FormerConfig, MaskedDecoderConfig
from engine.model.families.mask2former.model import Mask2Former
from engine.model.presets import preset
from tests.parity_weights import fill

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

# The published one with every width reduced; what shapes do not tell is as there.
NARROW = preset("mask2former_dinatl").model_copy(
    update={
        "num_classes": 133,
        "task": "panoptic",
        "things": COCO_THINGS,
        "hidden_dim": 64,
        "backbone": DinatConfig(embed_dim=24, heads=(1, 2, 4, 8)),
        "pixel_decoder": preset("mask2former_dinatl").pixel_decoder.model_copy(
            update={"layers": 1, "feedforward": 32, "mask_dim": 64}
        ),
        "decoder": MaskedDecoderConfig(layers=3, feedforward=48),
    }
)


def filled(config: Mask2FormerConfig, suffix: str) -> Mask2Former:
    """Build a model with the weights that the rule gives to their published names."""
    model = engine.build_model(config)
    state = engine.export_official(model)
    constant = "criterion.empty_weight"
    weights = {name: torch.from_numpy(fill(name, tuple(t.shape), suffix)) for name, t in state.items() if name != constant}
    engine.load_official(model, weights)
    return model.eval()
