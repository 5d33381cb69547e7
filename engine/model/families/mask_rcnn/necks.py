"""Necks: a backbone's maps in, a pyramid of maps of one width out, at strides 4 to 64."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from engine.model.families.mask_rcnn.config import BifpnConfig, NeckConfig

_COARSEST = "pool"  # torchvision's name for the map of stride 64
_EPSILON = 1e-4  # in the sum of the weights of a fusion (arXiv 1911.09070, section 3.3)


def build_neck(config: NeckConfig, channels: Mapping[str, int], dim: int) -> nn.Module:
    """Build a neck with fresh weights.

    It takes maps by name, strides 4 to 32 in rising order, and returns them by the same names with ``dim`` channels, and
    ``pool`` of stride 64.

    Args:
        config: which one.
        channels: of each map, by name.
        dim: channels of the pyramid.
    """
    if isinstance(config, BifpnConfig):
        return BidirectionalPyramid(channels, dim, layers=config.layers)
    if config.kind == "panet":
        return PathAggregation(channels, dim)
    return FeaturePyramidNetwork(list(channels.values()), dim, extra_blocks=LastLevelMaxPool(), norm_layer=nn.BatchNorm2d)


class PathAggregation(FeaturePyramidNetwork):
    """A feature pyramid with the bottom-up path of PANet (arXiv 1803.01534, section 3.1).

    The finest map stays as it is. Each next one is the pyramid's own with the last one, brought to its size by a convolution of
    stride 2, added to it, and seen by another convolution. As elsewhere in torchvision's second version, batch norms follow the
    convolutions. The parts of the pyramid itself have the names that they have in torchvision.
    """

    def __init__(self, channels: Mapping[str, int], dim: int) -> None:
        super().__init__(list(channels.values()), dim, norm_layer=nn.BatchNorm2d)
        steps = len(channels) - 1
        self.down = nn.ModuleList(_convolution(dim, stride=2) for _ in range(steps))
        self.fuse = nn.ModuleList(_convolution(dim) for _ in range(steps))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the pyramid of maps (B, C, H, W) by name."""
        maps = super().forward(features)
        names = list(maps)
        for finer, name, down, fuse in zip(names, names[1:], self.down, self.fuse, strict=False):
            maps[name] = fuse(down(maps[finer]) + maps[name])
        maps[_COARSEST] = functional.max_pool2d(maps[names[-1]], kernel_size=1, stride=2)
        return maps


class BidirectionalPyramid(nn.Module):
    """BiFPN (arXiv 1911.09070, section 3): ``layers`` times over the pyramid, down and up again, maps fused by learned weights.

    The map of stride 64 is made of the coarsest one by a convolution and pooling, as in EfficientDet.
    """

    def __init__(self, channels: Mapping[str, int], dim: int, *, layers: int) -> None:
        super().__init__()
        self.inputs = nn.ModuleDict({name: _projection(width, dim) for name, width in channels.items()})
        self.inputs[_COARSEST] = nn.Sequential(
            _projection(list(channels.values())[-1], dim), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.layers = nn.Sequential(*(_BidirectionalLayer(dim, len(self.inputs)) for _ in range(layers)))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the pyramid of maps (B, C, H, W) by name."""
        coarsest = list(features)[-1]
        maps = [project(features.get(name, features[coarsest])) for name, project in self.inputs.items()]
        return dict(zip(self.inputs, self.layers(maps), strict=True))


class _BidirectionalLayer(nn.Module):
    """One way down the pyramid, from the coarsest map to the finest, and one up again."""

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(_Fusion(dim, inputs=2) for _ in range(levels - 1))
        # The coarsest map has not been fused on the way down, so that two meet there where elsewhere three do.
        self.up = nn.ModuleList(_Fusion(dim, inputs=3 if level < levels - 1 else 2) for level in range(1, levels))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return as many maps of the same sizes, the finest first."""
        fused = list(maps)
        for level in reversed(range(len(maps) - 1)):
            above = functional.interpolate(fused[level + 1], size=maps[level].shape[-2:], mode="nearest")
            fused[level] = self.down[level]([maps[level], above])
        for level in range(1, len(maps)):
            below = functional.max_pool2d(fused[level - 1], 3, stride=2, padding=1)
            on_the_way = [fused[level]] if level < len(maps) - 1 else []
            fused[level] = self.up[level - 1]([maps[level], *on_the_way, below])
        return fused


class _Fusion(nn.Module):
    """Fast normalised fusion of maps, and a depthwise separable convolution of what comes out."""

    def __init__(self, dim: int, *, inputs: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.convolution = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False),
            nn.Conv2d(dim, dim, 1, bias=False),
            nn.BatchNorm2d(dim),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return the weighted mean of maps (B, C, H, W), convolved; no weight is negative."""
        weights = functional.relu(self.weights)
        weights = weights / (weights.sum() + _EPSILON)
        return self.convolution(sum(weight * each for weight, each in zip(weights, maps, strict=True)))


def _convolution(dim: int, *, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(dim, dim, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(inplace=True)
    )


def _projection(channels: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, dim, 1, bias=False), nn.BatchNorm2d(dim))
