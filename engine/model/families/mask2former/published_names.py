"""The names that published Mask2Formers give our parameters; see `engine.model.checkpoints.published_state`."""

from __future__ import annotations

import re

from engine.model.families.maskdino.published_names import official_name

_LAYER = r"decoder\.layers\.(\d+)\."
_PREDICTOR = "sem_seg_head.predictor."

# Ours -> published, of what only Mask2Former has; the first pattern that matches a name is applied.
_RULES: tuple[tuple[str, str], ...] = (
    (_LAYER + r"cross_attention\.(.*)", _PREDICTOR + r"transformer_cross_attention_layers.\1.multihead_attn.\2"),
    (_LAYER + r"cross_norm\.(.*)", _PREDICTOR + r"transformer_cross_attention_layers.\1.norm.\2"),
    (_LAYER + r"self_attention\.(.*)", _PREDICTOR + r"transformer_self_attention_layers.\1.self_attn.\2"),
    (_LAYER + r"self_norm\.(.*)", _PREDICTOR + r"transformer_self_attention_layers.\1.norm.\2"),
    (_LAYER + r"(.*)", _PREDICTOR + r"transformer_ffn_layers.\1.\2"),
    (r"decoder\.content\.(.*)", _PREDICTOR + r"query_feat.\1"),
    (r"decoder\.position\.(.*)", _PREDICTOR + r"query_embed.\1"),
    (r"decoder\.level_embedding\.(.*)", _PREDICTOR + r"level_embed.\1"),
    (r"heads\.norm\.(.*)", _PREDICTOR + r"decoder_norm.\1"),
)
_COMPILED = tuple((re.compile(ours), published) for ours, published in _RULES)


def published_name(name: str) -> str:
    """Translate one name of ours; backbone, pixel decoder and most heads are called as in Mask DINO."""
    for pattern, published in _COMPILED:
        match = pattern.fullmatch(name)
        if match:
            return match.expand(published)
    return official_name(name)
