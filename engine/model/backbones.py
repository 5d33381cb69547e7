"""Backbones: image in, maps res2 to res5 (strides 4 to 32) out."""

from __future__ import annotations

from functools import partial

from timm.layers import freeze_batch_norm_2d
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from engine.model.config import ResNetConfig, SwinConfig
from engine.model.swin import SwinTransformer

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class ResNetBackbone(nn.Module):
    """timm's ResNet, giving its four stages by name."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        block = BasicBlock if config.block == "basic" else Bottleneck
        deep_stem = {"stem_type": "deep", "stem_width": config.widths[0] // 2} if config.stem == "deep" else {}
        body = ResNet(
            block,
            list(config.depths),
            channels=config.widths,
            num_classes=0,
            # A residual branch that starts at zero is a habit of training from scratch.
            zero_init_last=config.norm == "batch",
            **deep_stem,
        )
        self.body = freeze_batch_norm_2d(body) if config.norm == "frozen" else body
        self.channels = {name: width * block.expansion for name, width in zip(STRIDES, config.widths, strict=True)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised -> res2 to res5."""
        body = self.body
        features = body.maxpool(body.act1(body.bn1(body.conv1(images))))
        outputs = {}
        for name, stage in zip(STRIDES, (body.layer1, body.layer2, body.layer3, body.layer4), strict=True):
            features = stage(features)
            outputs[name] = features
        return outputs


def build_backbone(config: ResNetConfig | SwinConfig) -> nn.Module:
    """Build the backbone that a config describes; it has ``channels``, the width of each map by name."""
    builders = {"resnet": ResNetBackbone, "swin": partial(SwinTransformer, names=tuple(STRIDES))}
    return builders[config.kind](config)
