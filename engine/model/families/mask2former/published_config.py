"""Work out which Mask2Former a published state dict belongs to, from the shapes of its tensors.

Shapes do not tell what the classes stand for, how far apart a DiNAT's neighbours are, and some numbers of heads. The task is
that of the published models with as many classes and queries; the rest comes from the preset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import ModelFileError
from engine.model.checkpoints.segmentation_classes import (
    ADE20K_CLASSES,
    ADE20K_THINGS,
    CITYSCAPES_CLASSES,
    CITYSCAPES_THINGS,
    COCO_PANOPTIC_CLASSES,
    COCO_THINGS,
)
from engine.model.families.mask2former.config import Mask2FormerConfig
from engine.model.families.maskdino.published_config import count_layers, told_backbone, told_features
from engine.model.families.registry import parse_model_config
from engine.model.presets import preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_PIXEL_DECODER = "sem_seg_head.pixel_decoder."
_PREDICTOR = "sem_seg_head.predictor."
_DEFAULT_PRESET = "mask2former_dinatl"
_FEED_FORWARD = f"{_PREDICTOR}transformer_ffn_layers.{{}}.linear1.weight"
_ENCODER_FEED_FORWARD = f"{_PIXEL_DECODER}transformer.encoder.layers.{{}}.linear1.weight"

# By the numbers of classes and of queries. 100 queries are those of the published semantic models with a large backbone.
_PANOPTIC = {
    (len(COCO_PANOPTIC_CLASSES), 200): COCO_THINGS,
    (len(ADE20K_CLASSES), 200): ADE20K_THINGS,
    (len(CITYSCAPES_CLASSES), 200): CITYSCAPES_THINGS,
}
_SEMANTIC = {(len(ADE20K_CLASSES), 100), (len(CITYSCAPES_CLASSES), 100)}


def published_config(tensors: Mapping[str, Tensor], *, preset_name: str | None = None) -> Mask2FormerConfig:
    """Work out the config of a published Mask2Former; see `engine.model.families.family.Family.published_config`.

    Raises:
        ModelFileError: it is none that can be built, or not of the preset's family or backbone.
        ArgumentError: there is no such preset.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    base = preset(preset_name or _DEFAULT_PRESET)
    if not isinstance(base, Mask2FormerConfig):
        raise ModelFileError(f"it is a Mask2Former, the preset {preset_name!r} is not.")
    try:
        told = _told(shapes)
    except (KeyError, IndexError, ValueError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else error
        raise ModelFileError(f"its tensors are not those of a Mask2Former ({missing}).") from error
    backbone, known = told["backbone"], base.backbone.model_dump()
    if backbone["kind"] == "dinat":
        if backbone["depths"] != list(base.backbone.depths):
            raise ModelFileError(f"its DiNAT has stages of {backbone['depths']} blocks, whose dilations no preset knows.")
        backbone = known | backbone
    elif preset_name is not None:
        raise ModelFileError(f"it has a {backbone['kind']} backbone, the preset {preset_name!r} a {base.backbone.kind}.")
    size = told["num_classes"], told["decoder"]["queries"]
    if preset_name is not None and size[0] == base.num_classes:
        told |= {"task": base.task, "things": base.things}
    elif size in _PANOPTIC:
        told |= {"task": "panoptic", "things": _PANOPTIC[size]}
    elif size in _SEMANTIC:
        told |= {"task": "semantic"}
    document = base.model_dump() | {"task": "instance", "things": ()} | told | {"backbone": backbone}
    for part in ("pixel_decoder", "decoder"):
        document[part] = getattr(base, part).model_dump() | told[part]
    return parse_model_config(document)


def _told(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    backbone, channels = _dinat(shapes) if "backbone.patch_embed.proj.0.weight" in shapes else told_backbone(shapes)
    levels, dim = shapes[f"{_PIXEL_DECODER}transformer.level_embed"]
    return {
        "num_classes": shapes[f"{_PREDICTOR}class_embed.weight"][0] - 1,
        "hidden_dim": dim,
        "backbone": backbone,
        "pixel_decoder": {
            "features": told_features(shapes, levels, channels),
            "levels": levels,
            "layers": count_layers(shapes, _ENCODER_FEED_FORWARD),
            "feedforward": shapes[_ENCODER_FEED_FORWARD.format(0)][0],
            "mask_dim": shapes[f"{_PIXEL_DECODER}mask_features.weight"][0],
        },
        "decoder": {
            "queries": shapes[f"{_PREDICTOR}query_feat.weight"][0],
            "layers": count_layers(shapes, _FEED_FORWARD),
            "feedforward": shapes[_FEED_FORWARD.format(0)][0],
        },
    }


def _dinat(shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Any], list[int]]:
    dim = shapes["backbone.patch_embed.norm.weight"][0]
    biases = [shapes[f"backbone.levels.{stage}.blocks.0.attn.rpb"] for stage in range(4)]
    return {
        "kind": "dinat",
        "embed_dim": dim,
        "depths": [count_layers(shapes, f"backbone.levels.{stage}.blocks.{{}}.norm1.weight") for stage in range(4)],
        "heads": [bias[0] for bias in biases],
        "kernel": (biases[0][1] + 1) // 2,
        "mlp_ratio": shapes["backbone.levels.0.blocks.0.mlp.fc1.weight"][0] / dim,
    }, [dim * 2**stage for stage in range(4)]
