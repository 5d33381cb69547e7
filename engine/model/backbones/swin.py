"""Swin Transformer as the published Mask DINO checkpoints were trained with it.

timm's own model cannot stand in: it rolls the map before padding it to whole windows (the published one pads first), and
drops the shift where a map is no larger than a window. Both change the result at 320x320, where every stage needs padding.
The parts that do agree (window attention, patch embedding, patch merging, MLP) are timm's.
"""

from __future__ import annotations

import torch
from timm.layers import DropPath, Mlp, PatchEmbed
from timm.models.swin_transformer import PatchMerging, WindowAttention, window_partition, window_reverse
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.backbones.hierarchical import HierarchicalTransformer, Stage
from engine.model.config import SwinConfig
from engine.model.layers.cached_constants import cached


class SwinTransformer(HierarchicalTransformer):
    """Swin Transformer (arXiv 2103.14030) that takes any image size and gives every stage's map, normalised."""

    def __init__(self, config: SwinConfig, *, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        widths = [config.embed_dim * 2**stage for stage in range(len(config.depths))]
        self.channels = dict(zip(names, widths, strict=True))
        self.patch_embed = PatchEmbed(
            img_size=None, patch_size=4, embed_dim=config.embed_dim, norm_layer=nn.LayerNorm,
            flatten=False, output_fmt="NHWC", strict_img_size=False, dynamic_img_pad=True,
        )  # fmt: skip
        blocks_before_last = max(sum(config.depths) - 1, 1)
        self.layers = nn.ModuleList()
        for stage, (depth, heads, width) in enumerate(zip(config.depths, config.heads, widths, strict=True)):
            first = sum(config.depths[:stage])
            blocks = [
                SwinBlock(
                    width,
                    heads=heads,
                    window=config.window_size,
                    shift=0 if index % 2 == 0 else config.window_size // 2,
                    mlp_ratio=config.mlp_ratio,
                    drop_path=config.drop_path * (first + index) / blocks_before_last,
                )
                for index in range(depth)
            ]
            last = stage == len(config.depths) - 1
            self.layers.append(Stage(blocks, None if last else PatchMerging(width, 2 * width)))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)

    @property
    def stages(self) -> nn.ModuleList:
        return self.layers


class SwinBlock(nn.Module):
    """Attention within windows, shifted by half a window in every second block, then an MLP."""

    def __init__(self, width: int, *, heads: int, window: int, shift: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, num_heads=heads, window_size=(window, window))
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        height, width, channels = x.shape[1:]
        window, shift = self.window, self.shift
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        padded = x.shape[1:3]
        mask = None
        if shift:
            x = torch.roll(x, (-shift, -shift), dims=(1, 2))
            mask = _shift_mask(*padded, window, shift, device=x.device).to(self.attn.relative_position_bias_table)
        windows = window_partition(x, (window, window)).view(-1, window * window, channels)
        windows = self.attn(windows, mask=mask).view(-1, window, window, channels)
        x = window_reverse(windows, (window, window), *padded)
        if shift:
            x = torch.roll(x, (shift, shift), dims=(1, 2))
        return x[:, :height, :width]


@cached
def _shift_mask(height: int, width: int, window: int, shift: int, *, device: torch.device) -> Tensor:
    """Keep positions apart that a shifted window brings together from opposite sides: (windows, N, N), 0 or -100."""
    regions = torch.zeros(1, height, width, 1, device=device)
    edges = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for row, rows in enumerate(edges):
        for column, columns in enumerate(edges):
            regions[:, rows, columns] = 3 * row + column
    ids = window_partition(regions, (window, window)).view(-1, window * window)
    return (ids[:, None] != ids[:, :, None]).float() * -100.0
