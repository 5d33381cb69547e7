"""Dilated Neighbourhood Attention Transformer, under the names of the published checkpoints."""

from __future__ import annotations

from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from engine.model.backbones.hierarchical import HierarchicalTransformer, Stage
from engine.model.config import DinatConfig
from engine.model.layers.neighborhood_attention import NeighborhoodAttention


class DinatTransformer(HierarchicalTransformer):
    """DiNAT (arXiv 2209.15001) that takes any image size and gives every stage's map, normalised."""

    def __init__(self, config: DinatConfig, *, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        widths = [config.embed_dim * 2**stage for stage in range(len(config.depths))]
        self.channels = dict(zip(names, widths, strict=True))
        self.patch_embed = Tokenizer(config.embed_dim)
        blocks_before_last = max(sum(config.depths) - 1, 1)
        self.levels = nn.ModuleList()
        for stage, (dilations, heads, width) in enumerate(zip(config.dilations, config.heads, widths, strict=True)):
            first = sum(config.depths[:stage])
            blocks = [
                DinatBlock(
                    width,
                    heads=heads,
                    kernel=config.kernel,
                    dilation=dilation,
                    mlp_ratio=config.mlp_ratio,
                    drop_path=config.drop_path * (first + index) / blocks_before_last,
                )
                for index, dilation in enumerate(dilations)
            ]
            last = stage == len(config.depths) - 1
            self.levels.append(Stage(blocks, None if last else Downsampler(width)))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @property
    def stages(self) -> nn.ModuleList:
        return self.levels


class Tokenizer(nn.Module):
    """Two convolutions that overlap: images (B, 3, H, W) -> tokens (B, H/4, W/4, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1), nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class Downsampler(nn.Module):
    """Halve the resolution and double the channels: (B, H, W, C) -> (B, H/2, W/2, 2C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class DinatBlock(nn.Module):
    """Neighbourhood attention, then an MLP."""

    def __init__(self, width: int, *, heads: int, kernel: int, dilation: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = NeighborhoodAttention(width, heads=heads, kernel=kernel, dilation=dilation)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
