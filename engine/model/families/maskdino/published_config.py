"""Tell which model a published state dict belongs to, from the shapes of its tensors.

Shapes settle the backbone, the levels and their order, the layers, the widths, the classes, how they are scored, and learned
queries. They say nothing of how many queries are selected or how boxes are first drawn: these come from the nearest preset.
What the classes stand for is that of the preset that is named, or of the published models of such shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import ModelFileError
from engine.model.checkpoints.segmentation_classes import COCO_PANOPTIC_CLASSES
from engine.model.families.maskdino.config import MaskDinoConfig
from engine.model.families.registry import parse_model_config
from engine.model.presets import PRESETS, preset

if TYPE_CHECKING:
    from torch import Tensor

    from engine.model.checkpoints.catalogue import PublishedModel

_PIXEL_DECODER = "sem_seg_head.pixel_decoder."
_ENCODER = f"{_PIXEL_DECODER}transformer."
_PREDICTOR = "sem_seg_head.predictor."
_TASK = {"task", "things"}
_STAGES = ("res2", "res3", "res4", "res5")


def published_config(
    tensors: Mapping[str, Tensor], *, preset_name: str | None = None, known: PublishedModel | None = None
) -> MaskDinoConfig:
    """Work out the config of a published Mask DINO state dict; see `engine.model.families.family.Family.published_config`.

    Raises:
        ModelFileError: it is not a Mask DINO.
        ArgumentError: there is no such preset.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        told = merged(told_by_shapes(shapes), _told_of_queries(shapes))
    except (KeyError, IndexError, ValueError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else error
        raise ModelFileError(f"its tensors are not those of a Mask DINO model ({missing}).") from error
    base = _preset(told, preset_name, known)
    task = {"task": "semantic", "things": ()} if told["classification"] == "softmax" else base.model_dump(include=_TASK)
    return parse_model_config(merged(base.model_dump(), told | task))


def _preset(told: dict[str, Any], name: str | None, known: PublishedModel | None) -> MaskDinoConfig:
    """Return what else a model is: what the catalogue knows of the file, the preset of that name, or the nearest one."""
    kind = told["backbone"]["kind"]
    named = None if name is None else preset(name)
    if named is not None and named.backbone.kind != kind:
        raise ModelFileError(f"it has a {kind} backbone, the preset {name!r} a {named.backbone.kind}.")
    presets = ((each, config) for each, config in PRESETS.items() if isinstance(config, MaskDinoConfig))
    alike = {each: config for each, config in presets if config.backbone.kind == kind}
    if known is not None and known.classes == told["num_classes"] and known.preset in alike:
        return alike[known.preset]
    if named is not None:
        return named
    task = "instance"
    if told["classification"] == "softmax":
        task = "semantic"
    elif told["num_classes"] == len(COCO_PANOPTIC_CLASSES):
        task = "panoptic"
    # How many classes there are makes no preset nearer; and a softmax on a Swin, say, has none with its backbone.
    shared = {key: value for key, value in told.items() if key != "num_classes"}
    of_task = [config for config in alike.values() if config.task == task]
    return max(of_task or alike.values(), key=lambda config: _agreement(config.model_dump(), shared))


def told_by_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return what of a config the shapes of its tensors say; those of a backbone, Mask DINO's pixel decoder and decoder."""
    backbone, channels = told_backbone(shapes)
    levels, dim = shapes[f"{_ENCODER}level_embed"]
    encoder_layer = f"{_ENCODER}encoder.layers.{{}}.linear1.weight"
    decoder_layer = f"{_PREDICTOR}decoder.layers.{{}}.linear1.weight"
    return {
        "num_classes": shapes[f"{_PREDICTOR}class_embed.weight"][0],
        "backbone": backbone,
        "hidden_dim": dim,
        "pixel_decoder": {
            "features": told_features(shapes, levels, channels),
            "levels": levels,
            "layers": count_layers(shapes, encoder_layer),
            "feedforward": shapes[encoder_layer.format(0)][0],
            "mask_dim": shapes[f"{_PIXEL_DECODER}mask_features.weight"][0],
        },
        "decoder": {"layers": count_layers(shapes, decoder_layer), "feedforward": shapes[decoder_layer.format(0)][0]},
    }


def _told_of_queries(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Whether queries are selected or learned, and whether they are classified against no object, which has no label."""
    labels = shapes[f"{_PREDICTOR}label_enc.weight"][0]
    softmax = shapes[f"{_PREDICTOR}class_embed.weight"][0] == labels + 1
    learned = shapes.get(f"{_PREDICTOR}query_embed.weight")
    queries = {} if learned is None else {"queries": learned[0], "box_initialisation": "no"}
    return {
        "num_classes": labels,
        "classification": "softmax" if softmax else "sigmoid",
        "decoder": {"two_stage": learned is None, **queries},
    }


def told_backbone(shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Any], list[int]]:
    """Config of a Swin or a ResNet, and the channels of its maps."""
    return _swin(shapes) if "backbone.patch_embed.proj.weight" in shapes else _resnet(shapes)


def told_features(shapes: Mapping[str, tuple[int, ...]], levels: int, channels: list[int]) -> list[str]:
    """Names of the backbone's maps in the order in which the pixel decoder takes them."""
    projections = [shapes[f"{_PIXEL_DECODER}input_proj.{level}.0.weight"] for level in range(levels)]
    # The 1x1 projections take the backbone's maps, told apart by their channels; the others halve the last map further.
    return [_STAGES[channels.index(shape[1])] for shape in projections if shape[2:] == (1, 1)]


def _resnet(shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Any], list[int]]:
    depths = [count_layers(shapes, f"backbone.{stage}.{{}}.conv1.weight") for stage in _STAGES]
    last = "conv3" if "backbone.res2.0.conv3.weight" in shapes else "conv2"
    channels = [shapes[f"backbone.{stage}.0.{last}.weight"][0] for stage in _STAGES]
    return {
        "kind": "resnet",
        "block": "bottleneck" if last == "conv3" else "basic",
        "depths": depths,
        "widths": [shapes[f"backbone.{stage}.0.conv1.weight"][0] for stage in _STAGES],
        **({"norm": "batch"} if "backbone.stem.conv1.norm.num_batches_tracked" in shapes else {}),
    }, channels


def _swin(shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Any], list[int]]:
    dim = shapes["backbone.patch_embed.proj.weight"][0]
    tables = [shapes[f"backbone.layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in range(4)]
    return {
        "kind": "swin",
        "embed_dim": dim,
        "depths": [count_layers(shapes, f"backbone.layers.{stage}.blocks.{{}}.norm1.weight") for stage in range(4)],
        "heads": [table[1] for table in tables],
        "window_size": (math.isqrt(tables[0][0]) + 1) // 2,
    }, [dim * 2**stage for stage in range(4)]


def count_layers(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    """How many tensors have this name with any number in the place of the braces."""
    before, after = (re.escape(part) for part in name.split("{}"))
    return sum(re.fullmatch(rf"{before}\d+{after}", known) is not None for known in shapes)


def _agreement(config: dict[str, Any], told: dict[str, Any]) -> int:
    return sum(
        _agreement(config[key], value) if isinstance(value, dict) else _as_list(config[key]) == _as_list(value)
        for key, value in told.items()
    )


def merged(config: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Put what is told in the place of what a config says, part by part."""
    return config | {key: merged(config[key], value) if isinstance(value, dict) else value for key, value in told.items()}


def _as_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
