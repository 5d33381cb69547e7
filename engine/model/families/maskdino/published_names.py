"""The names that Mask DINO's own checkpoints give our parameters; see `engine.model.checkpoints.published_state`."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from engine.model.config import SwinConfig
from engine.model.families.maskdino.model import MaskDino

_NO_OBJECT_WEIGHT = 0.1

# Ours -> published; the first pattern that matches a name is applied.
_RULES: tuple[tuple[str, str], ...] = (
    # ResNet: detectron2 counts the stages from 2, keeps a convolution's norm inside it, names the shortcut
    (r"backbone\.body\.conv1\.(.*)", r"backbone.stem.conv1.\1"),
    (r"backbone\.body\.bn1\.(.*)", r"backbone.stem.conv1.norm.\1"),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.0\.(.*)", r"backbone.res\1.\2.shortcut.\3"),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.1\.(.*)", r"backbone.res\1.\2.shortcut.norm.\3"),
    (r"backbone\.body\.layer(\d)\.(\d+)\.conv(\d)\.(.*)", r"backbone.res\1.\2.conv\3.\4"),
    (r"backbone\.body\.layer(\d)\.(\d+)\.bn(\d)\.(.*)", r"backbone.res\1.\2.conv\3.norm.\4"),
    # Swin: only the output norms differ
    (r"backbone\.norms\.(\d)\.(.*)", r"backbone.norm\1.\2"),
    (r"backbone\.(.*)", r"backbone.\1"),
    # pixel decoder
    (r"pixel_decoder\.input_projections\.(.*)", r"sem_seg_head.pixel_decoder.input_proj.\1"),
    (r"pixel_decoder\.level_embedding", r"sem_seg_head.pixel_decoder.transformer.level_embed"),
    (
        r"pixel_decoder\.layers\.(\d+)\.attention\.(.*)",
        r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1.self_attn.\2",
    ),
    (r"pixel_decoder\.layers\.(.*)", r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1"),
    (r"pixel_decoder\.lateral\.0\.(.*)", r"sem_seg_head.pixel_decoder.adapter_1.\1"),
    (r"pixel_decoder\.lateral\.1\.(.*)", r"sem_seg_head.pixel_decoder.adapter_1.norm.\1"),
    (r"pixel_decoder\.output\.0\.(.*)", r"sem_seg_head.pixel_decoder.layer_1.\1"),
    (r"pixel_decoder\.output\.1\.(.*)", r"sem_seg_head.pixel_decoder.layer_1.norm.\1"),
    (r"pixel_decoder\.mask_features\.(.*)", r"sem_seg_head.pixel_decoder.mask_features.\1"),
    # query selection, heads, decoder
    (r"query_selection\.projection\.(.*)", r"sem_seg_head.predictor.enc_output.\1"),
    (r"query_selection\.norm\.(.*)", r"sem_seg_head.predictor.enc_output_norm.\1"),
    (r"query_selection\.content\.(.*)", r"sem_seg_head.predictor.query_feat.\1"),
    (r"query_selection\.boxes\.(.*)", r"sem_seg_head.predictor.query_embed.\1"),
    (r"heads\.classify\.(.*)", r"sem_seg_head.predictor.class_embed.\1"),
    (r"heads\.embed_mask\.(.*)", r"sem_seg_head.predictor.mask_embed.\1"),
    (r"heads\.norm\.(.*)", r"sem_seg_head.predictor.decoder.norm.\1"),
    (r"heads\.refine_box\.(.*)", r"sem_seg_head.predictor._bbox_embed.\1"),
    (r"label_embedding\.(.*)", r"sem_seg_head.predictor.label_enc.\1"),
    (r"decoder\.reference_head\.(.*)", r"sem_seg_head.predictor.decoder.ref_point_head.\1"),
    (r"decoder\.layers\.(\d+)\.self_attention\.(.*)", r"sem_seg_head.predictor.decoder.layers.\1.self_attn.\2"),
    (r"decoder\.layers\.(\d+)\.cross_attention\.(.*)", r"sem_seg_head.predictor.decoder.layers.\1.cross_attn.\2"),
    (r"decoder\.layers\.(.*)", r"sem_seg_head.predictor.decoder.layers.\1"),
)
_COMPILED = tuple((re.compile(ours), published) for ours, published in _RULES)


def official_name(name: str) -> str:
    """Translate one name of ours into the published one (of several, the one that the others repeat)."""
    for pattern, published in _COMPILED:
        match = pattern.fullmatch(name)
        if match:
            translated = match.expand(published)
            # detectron2's first stage is res2
            return re.sub(r"^backbone\.res(\d)", lambda stage: f"backbone.res{int(stage[1]) + 1}", translated)
    raise KeyError(name)


def published_names(name: str, *, layers: int) -> list[str]:
    """List all the names that a published state dict gives a tensor of ours, of a model with that many decoder layers."""
    first = official_name(name)
    aliases = [first]
    if name.startswith("heads.norm."):
        aliases.append(first.replace("decoder.norm.", "decoder_norm."))
    if name.startswith("heads.refine_box."):
        for parent in ("decoder.bbox_embed", "bbox_embed"):
            aliases += [first.replace("_bbox_embed", f"{parent}.{layer}") for layer in range(layers)]
    return aliases


def published_constants(model: MaskDino) -> dict[str, Tensor]:
    """Return what a published state dict holds that a model computes itself: class weights of a loss, Swin's indices."""
    weight = torch.ones(model.config.num_classes + 1)
    weight[-1] = _NO_OBJECT_WEIGHT
    constants = {"criterion.empty_weight": weight}
    if isinstance(model.config.backbone, SwinConfig):
        for name, module in model.backbone.named_modules():
            if name.endswith(".attn"):
                constants[f"backbone.{name}.relative_position_index"] = module.relative_position_index
    return constants
