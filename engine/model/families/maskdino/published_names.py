"""The published names: our parameters under the names that Mask DINO's own checkpoints give them, and back.

A published state dict names shared parameters several times, and carries constants that a model computes itself. Both are
written by `export_official`; `load_official` asks for the former and does without the latter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.errors import CheckpointMismatchError
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
_CLASS_DEPENDENT = ("sem_seg_head.predictor.class_embed.", "sem_seg_head.predictor.label_enc.")


@dataclass(frozen=True)
class LoadReport:
    """What a load left out, by published name: empty unless the class heads were to be left out."""

    skipped: tuple[str, ...] = ()


def official_name(name: str) -> str:
    """Translate one name of ours into the published one (of several, the one that the others repeat)."""
    for pattern, published in _COMPILED:
        match = pattern.fullmatch(name)
        if match:
            translated = match.expand(published)
            # detectron2's first stage is res2
            return re.sub(r"^backbone\.res(\d)", lambda stage: f"backbone.res{int(stage[1]) + 1}", translated)
    raise KeyError(name)


def official_names(model: MaskDino) -> dict[str, list[str]]:
    """List each of our tensors' names with all the names that a published state dict gives it."""
    layers = len(model.decoder.layers)
    names = {}
    for name in _tensors(model):
        first = official_name(name)
        aliases = [first]
        if name.startswith("heads.norm."):
            aliases.append(first.replace("decoder.norm.", "decoder_norm."))
        if name.startswith("heads.refine_box."):
            for parent in ("decoder.bbox_embed", "bbox_embed"):
                aliases += [first.replace("_bbox_embed", f"{parent}.{layer}") for layer in range(layers)]
        names[name] = aliases
    return names


def export_official(model: MaskDino) -> dict[str, Tensor]:
    """Return the model's state under its published names, aliases and constants included."""
    tensors = _tensors(model)
    state = {alias: tensors[name] for name, aliases in official_names(model).items() for alias in aliases}
    return state | _constants(model)


def load_official(model: MaskDino, state_dict: Mapping[str, Tensor], *, skip_class_heads: bool = False) -> LoadReport:
    """Fill the model with a published state dict.

    Args:
        model: of the same architecture.
        state_dict: tensors (or arrays) by published name.
        skip_class_heads: leave the model's own classifier and label embedding as they are, for a checkpoint trained on
            other classes.

    Raises:
        CheckpointMismatchError: naming what is missing, left over, of another shape or contradicts itself. The model is
            then as it was before.
    """
    tensors = _tensors(model)
    constants = _constants(model)
    skipped, chosen, faults = [], {}, []
    known = set(constants)
    for name, aliases in official_names(model).items():
        known.update(aliases)
        if skip_class_heads and aliases[0].startswith(_CLASS_DEPENDENT):
            skipped += [alias for alias in aliases if alias in state_dict]
            continue
        missing = [alias for alias in aliases if alias not in state_dict]
        faults += [f"missing {alias}" for alias in missing]
        if missing:
            continue
        values = [torch.as_tensor(state_dict[alias]) for alias in aliases]
        if values[0].shape != tensors[name].shape:
            expected, found = tuple(tensors[name].shape), tuple(values[0].shape)
            faults.append(f"{aliases[0]} has shape {found}, the model {expected}")
        elif any(value is not values[0] and not torch.equal(value, values[0]) for value in values):
            faults.append(f"{aliases[0]} and the names that share its tensor hold different values")
        chosen[name] = values[0]
    faults += [f"left over {name}" for name in state_dict if name not in known]
    for name in constants.keys() & state_dict.keys():
        if skip_class_heads and name == "criterion.empty_weight":
            skipped.append(name)
        elif tuple(state_dict[name].shape) != tuple(constants[name].shape):
            faults.append(f"{name} has shape {tuple(state_dict[name].shape)}, the model {tuple(constants[name].shape)}")
    if faults:
        raise CheckpointMismatchError(
            f"The state dict does not fit the model in {len(faults)} places: {_shortened(faults)}.",
            hint="Build the preset that it was trained as"
            + ("." if skip_class_heads else ", or leave its class heads out (skip_class_heads) if only these differ."),
        )
    with torch.no_grad():
        for name, value in chosen.items():
            tensors[name].copy_(value)
    return LoadReport(tuple(sorted(skipped)))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything that a published checkpoint stores: our state without what the norms count and windows index."""
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.endswith(("num_batches_tracked", "relative_position_index"))
    }


def _constants(model: MaskDino) -> dict[str, Tensor]:
    weight = torch.ones(model.config.num_classes + 1)
    weight[-1] = _NO_OBJECT_WEIGHT
    constants = {"criterion.empty_weight": weight}
    if isinstance(model.config.backbone, SwinConfig):
        for name, module in model.backbone.named_modules():
            if name.endswith(".attn"):
                constants[f"backbone.{name}.relative_position_index"] = module.relative_position_index
    return constants


def _shortened(faults: list[str], count: int = 8) -> str:
    more = f"; and {len(faults) - count} more" if len(faults) > count else ""
    return "; ".join(faults[:count]) + more
