"""The pixel decoder: a deformable transformer encoder over the backbone's maps, and per-pixel embeddings at stride 4."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.backbones import STRIDES
from engine.model.components import Component, build_component
from engine.model.config import AnyPixelDecoderConfig, PixelDecoderComponent, PixelDecoderConfig
from engine.model.layers.deformable_attention import DeformableAttention
from engine.model.layers.feed_forward import feed_forward
from engine.model.layers.positions import Shapes, cell_centres, encode_maps

_NORM_GROUPS = 32


class PixelDecoder(nn.Module):
    """Mask DINO's pixel decoder (arXiv 2206.02777, section 3.2; Deformable DETR's encoder, arXiv 2010.04159)."""

    def __init__(self, config: PixelDecoderConfig, *, channels: dict[str, int], dim: int) -> None:
        super().__init__()
        self.features = config.features
        self.finest = min(range(len(self.features)), key=lambda level: STRIDES[self.features[level]])
        projections = [_projection(nn.Conv2d(channels[name], dim, 1), dim) for name in self.features]
        extra_channels = channels[max(self.features, key=STRIDES.__getitem__)]
        for _ in range(config.levels - len(self.features)):
            projections.append(_projection(nn.Conv2d(extra_channels, dim, 3, stride=2, padding=1), dim))
            extra_channels = dim
        self.input_projections = nn.ModuleList(projections)
        self.level_embedding = nn.Parameter(torch.randn(config.levels, dim))
        self.layers = nn.ModuleList(EncoderLayer(config, dim=dim) for _ in range(config.layers))
        # The finest encoder map is carried to stride 4, where the backbone's own stride-4 map sharpens it.
        self.lateral = nn.Sequential(nn.Conv2d(channels["res2"], dim, 1, bias=False), _group_norm(dim))
        self.output = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, bias=False), _group_norm(dim), nn.ReLU())
        self.mask_features = nn.Conv2d(dim, config.mask_dim, 1)
        for convolution in (self.lateral[0], self.output[0], self.mask_features):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Fuse the backbone's maps.

        Args:
            features: res2 to res5 by name, each (B, C, H, W).

        Returns:
            Per-pixel embeddings (B, mask_dim, H/4, W/4), and the encoder's maps, one a level, each (B, dim, H_l, W_l).
        """
        maps = [project(features[name]) for name, project in zip(self.features, self.input_projections, strict=False)]
        coarser = features[max(self.features, key=STRIDES.__getitem__)]
        for project in self.input_projections[len(self.features) :]:
            coarser = project(coarser)
            maps.append(coarser)
        encoded = self._encode(maps)
        lateral = self.lateral(features["res2"])
        finest = F.interpolate(encoded[self.finest].to(lateral), size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_features(self.output(lateral + finest)), encoded

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the encoder's layers."""
        yield from self.layers

    def _encode(self, maps: list[Tensor]) -> list[Tensor]:
        shapes = tuple((level.shape[-2], level.shape[-1]) for level in maps)
        sizes = [height * width for height, width in shapes]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1).to(self.level_embedding)  # (B, S, C)
        like = {"dtype": tokens.dtype, "device": tokens.device}
        encoded = encode_maps(shapes, tokens.shape[-1], **like).split(sizes)
        positions = torch.cat([part + embedding for part, embedding in zip(encoded, self.level_embedding, strict=True)])
        reference = cell_centres(shapes, **like)[None]
        for layer in self.layers:
            tokens = layer(tokens, positions, reference, shapes)
        return [
            part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(tokens.split(sizes, dim=1), shapes, strict=True)
        ]


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward network, each followed by its norm."""

    def __init__(self, config: PixelDecoderConfig, *, dim: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, levels=config.levels, heads=config.heads, points=config.points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, dim)
        self.norm2 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, tokens: Tensor, positions: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """(B, S, C) -> the same. The positions guide the queries, and are no part of the values."""
        attended = self.attention(tokens + positions, reference, tokens, shapes)
        tokens = self.norm1(tokens + attended)
        return feed_forward(tokens, self.linear1, self.linear2, self.norm2)


def build_pixel_decoder(config: AnyPixelDecoderConfig, *, channels: dict[str, int], dim: int) -> PixelDecoder | Component:
    """Build the pixel decoder that a config describes.

    Args:
        config: of ours, or of another package's.
        channels: of the backbone's maps by name.
        dim: channels of the maps that it gives.
    """
    if isinstance(config, PixelDecoderComponent):
        maps = {"features": config.features, "levels": config.levels, "mask_dim": config.mask_dim}
        return build_component(config, channels=channels, dim=dim, **maps)
    return PixelDecoder(config, channels=channels, dim=dim)


def _group_norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(_NORM_GROUPS, dim)


def _projection(convolution: nn.Conv2d, dim: int) -> nn.Sequential:
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, _group_norm(dim))
