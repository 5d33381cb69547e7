"""A Mask DINO model that is built in a few milliseconds, with every kind of part that the published ones have."""

from __future__ import annotations

from engine.model.checkpoints.segmentation_classes import COCO_THINGS
from engine.model.config import PixelDecoderConfig, ResNetConfig, TimmConfig
from engine.model.families.maskdino.config import DecoderConfig, MaskDinoConfig

SMALL_CONFIG = MaskDinoConfig(
    num_classes=2,
    backbone=ResNetConfig(depths=(1, 1, 1, 1), widths=(8, 16, 24, 32)),
    hidden_dim=32,
    pixel_decoder=PixelDecoderConfig(layers=1, feedforward=48, mask_dim=32),
    decoder=DecoderConfig(layers=2, feedforward=40),
)

# The same for the other tasks, as in the published models: what the classes stand for is told by how many there are, and a
# semantic model has learned queries, classified against no object, and its levels from the coarsest to the finest.
SMALL_PANOPTIC = SMALL_CONFIG.model_copy(
    update={
        "num_classes": 133,
        "task": "panoptic",
        "things": COCO_THINGS,
        "decoder": DecoderConfig(layers=2, feedforward=40, box_initialisation="no"),
    }
)
SMALL_SEMANTIC = SMALL_CONFIG.model_copy(
    update={
        "num_classes": 5,
        "task": "semantic",
        "classification": "softmax",
        "pixel_decoder": PixelDecoderConfig(features=("res5", "res4", "res3"), levels=3, layers=1, feedforward=48, mask_dim=32),
        "decoder": DecoderConfig(queries=14, layers=2, feedforward=40, two_stage=False, box_initialisation="no"),
    }
)

# One of each family that differs in what folding norms, padding and narrow numbers have to get right.
TIMM_FAMILIES = [
    TimmConfig(model="tf_efficientnet_lite0", channels=(24, 40, 112, 320)),  # 'same' padding, activations inside norms
    TimmConfig(model="mobilenetv3_small_050", channels=(8, 16, 24, 288), drop_path=0.1),  # squeeze-and-excite, hard swish
    TimmConfig(model="convnext_atto", channels=(40, 80, 160, 320), drop_path=0.1),  # layer norms, a stem of stride 4
    TimmConfig(model="regnety_002", channels=(24, 56, 152, 368), drop_path=0.1),  # grouped convolutions
    TimmConfig(model="resnet18d", channels=(64, 128, 256, 512), drop_path=0.1),  # a deep stem, shortcuts that average
]
