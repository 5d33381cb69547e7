"""Backbones: image in, maps res2 to res5 (strides 4 to 32) out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache, partial

import timm
import torch
from timm.layers import freeze_batch_norm_2d
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.model.backbones.dinat import DinatTransformer
from engine.model.backbones.swin import SwinTransformer
from engine.model.components import build_component
from engine.model.config import BackboneConfig, ResNetConfig, TimmConfig

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

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the stages."""
        yield from (self.body.layer1, self.body.layer2, self.body.layer3, self.body.layer4)


class TimmBackbone(nn.Module):
    """A convolutional network of timm, giving its maps at strides 4 to 32 by name.

    Raises:
        ConfigError: timm has no such network, or it gives other maps than the config says.
    """

    def __init__(self, config: TimmConfig) -> None:
        super().__init__()
        indices, channels = _maps(config.model)
        if channels != config.channels:
            raise ConfigError(
                f"backbone.channels is {list(config.channels)}; {config.model} of timm {timm.__version__} has {list(channels)}."
            )
        # Not every network has paths to drop; one that has none refuses the argument.
        drop_path = {"drop_path_rate": config.drop_path} if config.drop_path else {}
        try:
            self.body = timm.create_model(config.model, pretrained=False, features_only=True, out_indices=indices, **drop_path)
        except TypeError as error:
            raise ConfigError(f"backbone.drop_path is {config.drop_path}; {config.model} of timm cannot drop paths.") from error
        self.channels = dict(zip(STRIDES, channels, strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised, H and W multiples of 32 -> res2 to res5."""
        return dict(zip(STRIDES, self.body(images), strict=True))

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the parts that timm made it of."""
        lists = (nn.Sequential, nn.ModuleList)
        parts = [part for child in self.body.children() for part in (child if isinstance(child, lists) else [child])]
        # Not a bare activation: one that works in place would change the input that is kept.
        yield from (part for part in parts if any(part.children()))


@cache
def _maps(model: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find out which of a network's maps have the strides 4 to 32, and their widths; without memory for its weights."""
    if not timm.is_model(model):
        near = ", ".join(difflib.get_close_matches(model, timm.list_models(), n=3))
        raise ConfigError(
            f"timm {timm.__version__} has no model {model!r}.", hint=f"Did you mean one of {near}?" if near else None
        )
    height, width = 96, 160
    try:
        with torch.device("meta"):
            body = timm.create_model(model, pretrained=False, features_only=True).eval()
            shapes = [tuple(features.shape) for features in body(torch.empty(1, 3, height, width))]
    except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ConfigError(f"{model} of timm cannot be a backbone: it gives no maps of images of any size ({error}).") from error
    found = {shape[2:]: (index, shape[1]) for index, shape in zip(body.feature_info.out_indices, shapes, strict=True)}
    wanted = [(height // stride, width // stride) for stride in STRIDES.values()]
    if any(size not in found for size in wanted):
        raise ConfigError(
            f"{model} of timm cannot be a backbone: it does not give (B, C, H, W) maps at strides 4, 8, 16 and 32.",
            hint="Take a convolutional network, such as convnext_tiny.",
        )
    indices, channels = zip(*(found[size] for size in wanted), strict=True)
    return indices, channels


def build_backbone(config: BackboneConfig) -> nn.Module:
    """Build the backbone that a config describes.

    It has ``channels``, the width of each map by name, and ``repeated_parts()``, the large parts one after the other, each of
    which can be computed anew in the backward pass.
    """
    names = tuple(STRIDES)
    builders = {
        "resnet": ResNetBackbone,
        "swin": partial(SwinTransformer, names=names),
        "dinat": partial(DinatTransformer, names=names),
        "timm": TimmBackbone,
        "component": build_component,
    }
    return builders[config.kind](config)
