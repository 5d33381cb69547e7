"""Backbones trained on ImageNet, under the names of torchvision, of timm and of the makers of Swin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor


def is_backbone(state: Mapping[str, Tensor]) -> bool:
    """Tell the state dict of a ResNet (torchvision's, timm's) or a Swin Transformer (its makers', timm's) from others."""
    return any(name in state for name in ("conv1.weight", "conv1.0.weight", "patch_embed.proj.weight"))


def backbone_tensors(weights: Iterable[str], state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """Translate a backbone's state dict into our names.

    Its classifier and the norm before that have no counterpart; Swin's output norms are a detector's own and start fresh.

    Args:
        weights: names of the model's tensors.
        state: tensors by published name.

    Returns:
        Tensors by our names, and the names in ``state`` that they came from.
    """
    ours = [name for name in weights if name.startswith("backbone.")]
    # timm puts the merging of patches at the head of a stage, the makers of Swin at the end of the one before.
    later = "layers.3.downsample.reduction.weight" in state
    theirs = {name: _merging_moved(_bare(name)) if later else _bare(name) for name in ours}
    found = {name: state[published] for name, published in theirs.items() if published in state}
    return found, {theirs[name] for name in found}


def _bare(name: str) -> str:
    return re.sub(r"^backbone\.(body\.)?", "", name)


def _merging_moved(name: str) -> str:
    return re.sub(r"^layers\.(\d)\.downsample\.", lambda stage: f"layers.{int(stage[1]) + 1}.downsample.", name)
