"""The names that published DI-MaskDINOs give our parameters; see `engine.model.checkpoints.published_state`."""

from __future__ import annotations

import re

from engine.model.families.dimaskdino.config import BalancedDecoderConfig
from engine.model.families.maskdino.published_names import published_names as mask_dino_names

_PREDICTOR = "sem_seg_head.predictor."

# Ours -> published, of what only DI-MaskDINO has; the first pattern that matches a name is applied.
_RULES: tuple[tuple[str, str], ...] = (
    (r"query_selection\.reference_head\.(.*)", _PREDICTOR + r"oldm.ref_point_head.\1"),
    (r"query_selection\.layers\.(\d+)\.self_attention\.(.*)", _PREDICTOR + r"oldm.layers.\1.self_attn.\2"),
    (r"query_selection\.layers\.(.*)", _PREDICTOR + r"oldm.layers.\1"),
    (r"query_selection\.norm\.(.*)", _PREDICTOR + r"oldm.norm.\1"),
    (r"query_selection\.refine_box\.(.*)", _PREDICTOR + r"_oldm_bbox_embed.\1"),
    (r"decoder\.optimisation\.output\.0\.(.*)", _PREDICTOR + r"decoder.mask_output_conv.\1"),
    (r"decoder\.optimisation\.output\.1\.(.*)", _PREDICTOR + r"decoder.mask_output_conv.norm.\1"),
    (r"decoder\.optimisation\.attention\.(.*)", _PREDICTOR + r"decoder.query_guide_feature_update.multihead_attn.\1"),
    (r"decoder\.optimisation\.(.*)", _PREDICTOR + r"decoder.query_guide_feature_update.\1"),
)
_COMPILED = tuple((re.compile(ours), published) for ours, published in _RULES)

# Published modules that share a tensor with the one named first.
_SHARED = (
    ("oldm.norm.", ("oldm_norm.",)),
    ("decoder.query_guide_feature_update.", ("query_guide_feature_update.",)),
    ("class_embed.", ("decoder.class_embed.", "oldm.class_embed.")),
    ("mask_embed.", ("decoder.mask_embed.",)),
)


def published_names(name: str, config: BalancedDecoderConfig) -> list[str]:
    """List all the names that a published state dict gives a tensor of ours."""
    names = _own_names(name) or mask_dino_names(
        name.replace("query_selection.first.", "query_selection."), layers=config.layers
    )
    chief = names[0].removeprefix(_PREDICTOR)
    for shared, others in _SHARED:
        if chief.startswith(shared):
            names += [_PREDICTOR + other + chief.removeprefix(shared) for other in others]
    if name.startswith("query_selection.refine_box."):
        for parent in ("oldm.bbox_embed", "oldm_bbox_embed"):
            names += [names[0].replace("_oldm_bbox_embed", f"{parent}.{layer}") for layer in range(config.interaction_layers)]
    return names


def _own_names(name: str) -> list[str]:
    for pattern, published in _COMPILED:
        match = pattern.fullmatch(name)
        if match:
            return [match.expand(published)]
    return []
