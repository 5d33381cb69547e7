"""The models that have a name."""

from __future__ import annotations

from engine.errors import ArgumentError
from engine.model.checkpoints.segmentation_classes import COCO_THINGS
from engine.model.config import FamilyConfig, PixelDecoderConfig, ResNetConfig, SwinConfig, TimmConfig
from engine.model.families.dimaskdino.config import DiMaskDinoConfig
from engine.model.families.mask2former.config import Mask2FormerConfig, MaskedDecoderConfig
from engine.model.families.mask_rcnn.config import MaskRcnnConfig
from engine.model.families.maskdino.config import DecoderConfig, MaskDinoConfig

_FIVE_LEVELS = PixelDecoderConfig(features=("res2", "res3", "res4", "res5"), levels=5)

PRESETS: dict[str, FamilyConfig] = {
    # The published COCO instance model with a ResNet-50 (feed-forward 2048, mask-enhanced boxes).
    "maskdino_r50": MaskDinoConfig(),
    # The Swin-L model of the MapChallenge run: one class, five levels, res2 in the encoder.
    "maskdino_swinl": MaskDinoConfig(
        num_classes=1,
        backbone=SwinConfig(),
        pixel_decoder=_FIVE_LEVELS,
        decoder=DecoderConfig(box_initialisation="bitmask"),
        detections_per_image=300,
    ),
    # The further COCO models of the same makers, as they name them: instances with an encoder of feed-forward 1024, instances
    # whose boxes do not start from masks, and the panoptic classes (things first).
    "maskdino_r50_hid1024": MaskDinoConfig(
        pixel_decoder=PixelDecoderConfig(feedforward=1024), decoder=DecoderConfig(box_initialisation="bitmask")
    ),
    "maskdino_swinl_no_mask_enhance": MaskDinoConfig(
        backbone=SwinConfig(), pixel_decoder=_FIVE_LEVELS, decoder=DecoderConfig(box_initialisation="no")
    ),
    "maskdino_r50_panoptic": MaskDinoConfig(
        num_classes=133, task="panoptic", things=COCO_THINGS, decoder=DecoderConfig(box_initialisation="no")
    ),
    "maskdino_swinl_panoptic": MaskDinoConfig(
        num_classes=133,
        task="panoptic",
        things=COCO_THINGS,
        backbone=SwinConfig(),
        pixel_decoder=_FIVE_LEVELS,
        decoder=DecoderConfig(box_initialisation="no"),
    ),
    # Semantic segmentation of ADE20K (for Cityscapes, 19 classes): learned queries, levels from the coarsest to the finest.
    "maskdino_r50_semantic": MaskDinoConfig(
        num_classes=150,
        task="semantic",
        classification="softmax",
        pixel_decoder=PixelDecoderConfig(features=("res5", "res4", "res3"), levels=3, feedforward=1024),
        decoder=DecoderConfig(queries=100, two_stage=False, box_initialisation="no"),
    ),
    # Small enough to be trained from nothing on a CPU.
    "maskdino_tiny": MaskDinoConfig(
        num_classes=1,
        backbone=ResNetConfig(block="basic", depths=(2, 2, 2, 2), widths=(40, 80, 160, 256), norm="batch", stem="deep"),
        hidden_dim=128,
        pixel_decoder=PixelDecoderConfig(layers=3, feedforward=512, mask_dim=128),
        decoder=DecoderConfig(queries=150, layers=4, feedforward=512, box_initialisation="bitmask"),
        detections_per_image=150,
    ),
    # The embedded default, for machines without a GPU, on a backbone that can be had trained on ImageNet. Mean and deviation
    # are those that these weights were trained with.
    "maskdino_lite": MaskDinoConfig(
        num_classes=1,
        backbone=TimmConfig(model="tf_efficientnet_lite2", channels=(24, 48, 120, 352)),
        hidden_dim=128,
        pixel_decoder=PixelDecoderConfig(layers=3, feedforward=512, mask_dim=128),
        decoder=DecoderConfig(queries=300, layers=4, feedforward=512, box_initialisation="bitmask"),
        pixel_mean=(127.5, 127.5, 127.5),
        pixel_std=(127.5, 127.5, 127.5),
        detections_per_image=300,
    ),
    # The published DI-MaskDINO, for COCO's instances with a ResNet-50.
    "dimaskdino_r50": DiMaskDinoConfig(),
    # Mask2Former with DiNAT-L as published: COCO's instances, its panoptic classes (things first), ADE20K's semantic classes.
    "mask2former_dinatl": Mask2FormerConfig(),
    "mask2former_dinatl_panoptic": Mask2FormerConfig(num_classes=133, task="panoptic", things=COCO_THINGS),
    "mask2former_dinatl_semantic": Mask2FormerConfig(
        num_classes=150, task="semantic", decoder=MaskedDecoderConfig(queries=100)
    ),
    # The baseline. torchvision enlarges a tile of 300 pixels to 800, where its anchors measure 32 to 512: on the tile as it is,
    # that is these.
    "maskrcnn_r50": MaskRcnnConfig(num_classes=1, anchor_sizes=(12, 24, 48, 96, 192)),
}


def preset(name: str, *, num_classes: int | None = None) -> FamilyConfig:
    """Look a preset up by its name, with another number of classes where one is given.

    Raises:
        ArgumentError: where there is none of that name.
    """
    if name not in PRESETS:
        raise ArgumentError(f"No preset is called {name!r}.", hint=f"There are: {', '.join(PRESETS)}.")
    config = PRESETS[name]
    return config if num_classes is None else config.model_copy(update={"num_classes": num_classes})


def preset_of(config: FamilyConfig) -> str | None:
    """Name the preset that a config is, whatever its number of classes; None where it is none."""
    for name, known in PRESETS.items():
        if known.model_copy(update={"num_classes": config.num_classes}) == config:
            return name
    return None
