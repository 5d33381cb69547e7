"""State dicts with the names and shapes of published DINO detectors, small: the makers' and detrex's."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from engine.model.backbones import build_backbone
from engine.model.families.maskdino.config import MaskDinoConfig
from engine.model.families.maskdino.published_names import official_name


def makers_state(
    config: MaskDinoConfig, *, layers: int | None = None, rows: int = 91, levels: int | None = None
) -> dict[str, Tensor]:
    """Return what IDEA-Research/DINO saves: one box head and one classifier under the names of every layer."""
    decoder, memory = layers or config.decoder.layers, levels or config.pixel_decoder.levels
    detector = _Makers(config, layers=decoder, rows=rows, levels=memory)
    return _filled(detector)


def detrex_state(config: MaskDinoConfig, *, layers: int | None = None, rows: int = 80) -> dict[str, Tensor]:
    """Return what detrex saves: a box head and a classifier a layer, and detectron2's names in the backbone."""
    state = _filled(_Detrex(config, layers=layers or config.decoder.layers, rows=rows))
    return {
        official_name(name) if name.startswith("backbone.") else name: tensor
        for name, tensor in state.items()
        if not name.endswith("relative_position_index")
    }


def _filled(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _module(**parts: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, part in parts.items():
        module.add_module(name, part)
    return module


def _mlp(*widths: int) -> nn.Module:
    return _module(layers=nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths)))


def _attention(dim: int, levels: int, heads: int, points: int) -> nn.Module:
    rows = heads * levels * points
    return _module(
        sampling_offsets=nn.Linear(dim, 2 * rows),
        attention_weights=nn.Linear(dim, rows),
        value_proj=nn.Linear(dim, dim),
        output_proj=nn.Linear(dim, dim),
    )


def _projections(config: MaskDinoConfig, channels: dict[str, int], levels: int) -> list[nn.Conv2d]:
    widths = [channels[name] for name in ("res2", "res3", "res4", "res5")]
    direct = widths[-min(levels - 1, 4) :]
    convolutions = [nn.Conv2d(width, config.hidden_dim, 1) for width in direct]
    return [*convolutions, nn.Conv2d(widths[-1], config.hidden_dim, 3, stride=2)]


class _Makers(nn.Module):
    def __init__(self, config: MaskDinoConfig, *, layers: int, rows: int, levels: int) -> None:
        super().__init__()
        dim, encoder, decoder = config.hidden_dim, config.pixel_decoder, config.decoder
        backbone = build_backbone(config.backbone)
        channels = backbone.channels
        if config.backbone.kind == "swin":  # output norms of its own names, none for the map that the detector does not use
            for stage, norm in enumerate(backbone.norms):
                if stage >= 5 - levels:
                    backbone.add_module(f"norm{stage}", norm)
            del backbone.norms
        self.backbone = nn.Sequential(backbone)
        self.input_proj = nn.ModuleList(nn.Sequential(c, nn.GroupNorm(32, dim)) for c in _projections(config, channels, levels))
        self.label_enc = nn.Embedding(rows + 1, dim)
        self.class_embed = nn.ModuleList([nn.Linear(dim, rows)] * layers)
        self.bbox_embed = nn.ModuleList([_mlp(dim, dim, dim, 4)] * layers)
        self.transformer = _module(
            encoder=_module(
                layers=nn.ModuleList(
                    _module(
                        self_attn=_attention(dim, levels, encoder.heads, encoder.points),
                        norm1=nn.LayerNorm(dim),
                        linear1=nn.Linear(dim, encoder.feedforward),
                        linear2=nn.Linear(encoder.feedforward, dim),
                        norm2=nn.LayerNorm(dim),
                    )
                    for _ in range(encoder.layers)
                )
            ),
            decoder=_module(
                layers=nn.ModuleList(
                    _module(
                        cross_attn=_attention(dim, levels, decoder.heads, decoder.points),
                        norm1=nn.LayerNorm(dim),
                        self_attn=nn.MultiheadAttention(dim, decoder.heads),
                        norm2=nn.LayerNorm(dim),
                        linear1=nn.Linear(dim, decoder.feedforward),
                        linear2=nn.Linear(decoder.feedforward, dim),
                        norm3=nn.LayerNorm(dim),
                    )
                    for _ in range(layers)
                ),
                norm=nn.LayerNorm(dim),
                ref_point_head=_mlp(2 * dim, dim, dim),
                bbox_embed=self.bbox_embed,
                class_embed=self.class_embed,
            ),
            tgt_embed=nn.Embedding(900, dim),
            enc_output=nn.Linear(dim, dim),
            enc_output_norm=nn.LayerNorm(dim),
            enc_out_bbox_embed=_mlp(dim, dim, dim, 4),
            enc_out_class_embed=nn.Linear(dim, rows),
        )
        self.transformer.level_embed = nn.Parameter(torch.zeros(levels, dim))


class _Detrex(nn.Module):
    def __init__(self, config: MaskDinoConfig, *, layers: int, rows: int) -> None:
        super().__init__()
        dim, encoder, decoder = config.hidden_dim, config.pixel_decoder, config.decoder
        levels = encoder.levels
        self.backbone = build_backbone(config.backbone)
        *direct, extra = (
            _module(conv=convolution, norm=nn.GroupNorm(32, dim))
            for convolution in _projections(config, self.backbone.channels, levels)
        )
        self.neck = _module(convs=nn.ModuleList(direct), extra_convs=nn.ModuleList([extra]))
        self.label_enc = nn.Embedding(rows, dim)
        self.class_embed = nn.ModuleList(nn.Linear(dim, rows) for _ in range(layers + 1))
        self.bbox_embed = nn.ModuleList(_mlp(dim, dim, dim, 4) for _ in range(layers + 1))

        def feedforward(width: int) -> nn.ModuleList:
            inner = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Dropout())
            return nn.ModuleList([_module(layers=nn.Sequential(inner, nn.Linear(width, dim), nn.Dropout()))])

        self.transformer = _module(
            encoder=_module(
                layers=nn.ModuleList(
                    _module(
                        attentions=nn.ModuleList([_attention(dim, levels, encoder.heads, encoder.points)]),
                        ffns=feedforward(encoder.feedforward),
                        norms=nn.ModuleList(nn.LayerNorm(dim) for _ in range(2)),
                    )
                    for _ in range(encoder.layers)
                )
            ),
            decoder=_module(
                layers=nn.ModuleList(
                    _module(
                        attentions=nn.ModuleList(
                            [
                                _module(attn=nn.MultiheadAttention(dim, decoder.heads)),
                                _attention(dim, levels, decoder.heads, decoder.points),
                            ]
                        ),
                        ffns=feedforward(decoder.feedforward),
                        norms=nn.ModuleList(nn.LayerNorm(dim) for _ in range(3)),
                    )
                    for _ in range(layers)
                ),
                ref_point_head=_mlp(2 * dim, dim, dim),
                norm=nn.LayerNorm(dim),
                class_embed=self.class_embed,
                bbox_embed=self.bbox_embed,
            ),
            tgt_embed=nn.Embedding(900, dim),
            enc_output=nn.Linear(dim, dim),
            enc_output_norm=nn.LayerNorm(dim),
        )
        self.transformer.level_embeds = nn.Parameter(torch.zeros(levels, dim))
