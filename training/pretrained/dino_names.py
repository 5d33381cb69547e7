"""The names that the detector DINO (arXiv 2203.03605) gives to what Mask DINO shares with it.

Two programs publish DINO checkpoints, each under names of its own: the makers' (github.com/IDEA-Research/DINO) and detrex
(github.com/IDEA-Research/detrex).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from engine.model.families.maskdino.published_names import official_name

# Ours -> the makers'; the first pattern that matches is applied. LAST stands for the last decoder layer.
_RULES = (
    (r"backbone\.norms\.(\d)\.(.*)", r"backbone.0.norm\1.\2"),
    (r"backbone\.(.*)", r"backbone.0.\1"),
    (r"pixel_decoder\.input_projections\.(.*)", r"input_proj.\1"),
    (r"pixel_decoder\.level_embedding", r"transformer.level_embed"),
    (r"pixel_decoder\.layers\.(\d+)\.attention\.(.*)", r"transformer.encoder.layers.\1.self_attn.\2"),
    (r"pixel_decoder\.layers\.(.*)", r"transformer.encoder.layers.\1"),
    (r"query_selection\.projection\.(.*)", r"transformer.enc_output.\1"),
    (r"query_selection\.norm\.(.*)", r"transformer.enc_output_norm.\1"),
    (r"heads\.norm\.(.*)", r"transformer.decoder.norm.\1"),
    (r"heads\.classify\.(.*)", r"class_embed.LAST.\1"),
    (r"heads\.refine_box\.(.*)", r"bbox_embed.LAST.\1"),
    (r"label_embedding\.(.*)", r"label_enc.\1"),
    (r"decoder\.reference_head\.(.*)", r"transformer.decoder.ref_point_head.\1"),
    (r"decoder\.layers\.(\d+)\.self_attention\.(.*)", r"transformer.decoder.layers.\1.self_attn.\2"),
    (r"decoder\.layers\.(\d+)\.cross_attention\.(.*)", r"transformer.decoder.layers.\1.cross_attn.\2"),
    (r"decoder\.layers\.(.*)", r"transformer.decoder.layers.\1"),
)
# The makers' -> detrex's, where they differ; its backbones bear detectron2's names, as Mask DINO's own checkpoints do.
_DETREX_RULES = (
    (r"transformer\.level_embed", r"transformer.level_embeds"),
    (r"input_proj\.(\w+)\.0\.(.*)", r"neck.convs.\1.conv.\2"),
    (r"input_proj\.(\w+)\.1\.(.*)", r"neck.convs.\1.norm.\2"),
    (r"(transformer\.encoder\.layers\.\d+)\.self_attn\.(.*)", r"\1.attentions.0.\2"),
    (r"(transformer\.decoder\.layers\.\d+)\.self_attn\.(.*)", r"\1.attentions.0.attn.\2"),
    (r"(transformer\.decoder\.layers\.\d+)\.cross_attn\.(.*)", r"\1.attentions.1.\2"),
    (r"(transformer\.encoder\.layers\.\d+)\.norm1\.(.*)", r"\1.norms.0.\2"),  # numbered in the order of their use
    (r"(transformer\.encoder\.layers\.\d+)\.norm2\.(.*)", r"\1.norms.1.\2"),
    (r"(transformer\.decoder\.layers\.\d+)\.norm2\.(.*)", r"\1.norms.0.\2"),
    (r"(transformer\.decoder\.layers\.\d+)\.norm1\.(.*)", r"\1.norms.1.\2"),
    (r"(transformer\.decoder\.layers\.\d+)\.norm3\.(.*)", r"\1.norms.2.\2"),
    (r"(transformer\.\w+\.layers\.\d+)\.linear1\.(.*)", r"\1.ffns.0.layers.0.0.\2"),
    (r"(transformer\.\w+\.layers\.\d+)\.linear2\.(.*)", r"\1.ffns.0.layers.1.\2"),
)


def is_dino(state: Mapping[str, Tensor]) -> bool:
    """Tell a DINO detector's state dict, the makers' or detrex's, from others."""
    return "transformer.enc_output.weight" in state and (
        "input_proj.0.0.weight" in state or "neck.convs.0.conv.weight" in state
    )


class DinoNames:
    """Translate our names into those of one checkpoint.

    Attributes:
        projections: shape of the convolution that leads to each level of the memory, in the encoder's order.
        last: number of the last decoder layer.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        self.detrex = "neck.convs.0.conv.weight" in state
        layers = (re.match(r"transformer\.decoder\.layers\.(\d+)\.", name) for name in state)
        self.last = max((int(match[1]) for match in layers if match), default=0)
        self._direct = sum(re.fullmatch(r"neck\.convs\.\d+\.conv\.weight", name) is not None for name in state)
        self.projections: list[tuple[int, ...]] = []
        while (name := self.published(f"pixel_decoder.input_projections.{len(self.projections)}.0.weight")) in state:
            self.projections.append(tuple(state[name].shape))

    def published(self, name: str) -> str:
        """Translate a name; the checkpoint need not have what comes out."""
        if self.detrex and name.startswith("backbone."):
            return official_name(name)
        name = _translated(name, _RULES).replace("LAST", str(self.last))
        if not self.detrex:
            return name
        name = _translated(name, _DETREX_RULES)
        level = re.match(r"neck\.convs\.(\d+)\.", name)
        if level and int(level[1]) >= self._direct:  # the levels below the backbone's are counted apart
            name = f"neck.extra_convs.{int(level[1]) - self._direct}.{name[level.end() :]}"
        return name

    def aliases(self, published: str) -> Iterator[str]:
        """List a name with the others under which the checkpoint may repeat the same tensor: heads stand under every layer."""
        yield published
        head = re.fullmatch(r"(class|bbox)_embed\.\d+\.(.*)", published)
        if head is None:
            return
        names = [
            f"{place}{head[1]}_embed.{layer}.{head[2]}"
            for place in ("", "transformer.decoder.")
            for layer in range(self.last + 2)
        ]
        for name in [*names, f"transformer.enc_out_{head[1]}_embed.{head[2]}"]:
            if name in self.state and name != published:
                yield name


def _translated(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, theirs in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(theirs)
    return name
