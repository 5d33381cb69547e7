"""What the published checkpoints call the parts that only Mask2Former has: patterns of our names, and theirs."""

from __future__ import annotations

_LAYER = r"decoder\.layers\.(\d+)\."
_PREDICTOR = "sem_seg_head.predictor."

RULES: tuple[tuple[str, str], ...] = (
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
