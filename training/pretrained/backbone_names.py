"""Backbones trained on ImageNet, under the names of torchvision, of timm and of the makers of Swin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor


def is_backbone(weights: Iterable[str], state: Mapping[str, Tensor]) -> bool:
    """Tell the state dict of a backbone from others.

    Args:
        weights: names of the model's tensors.
        state: tensors by published name. A backbone is a ResNet (torchvision's, timm's), a Swin (its makers', timm's)
            or, under timm's names, the model's own.
    """
    known = ("conv1.weight", "conv1.0.weight", "patch_embed.proj.weight")
    return any(name in state for name in known) or bool(backbone_tensors(weights, state)[0])


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
    # timm joins the names of a sequence and its members where it gives the maps of some of them.
    theirs |= {name: _parted(bare) for name, bare in theirs.items() if bare not in state and _parted(bare) in state}
    found = {name: state[published] for name, published in theirs.items() if published in state}
    return found, {theirs[name] for name in found}


def _bare(name: str) -> str:
    return re.sub(r"^backbone\.(body\.)?", "", name)


def _parted(name: str) -> str:
    return re.sub(r"^(\w+)_(\d+)\.", r"\1.\2.", name)


def _merging_moved(name: str) -> str:
    return re.sub(r"^layers\.(\d)\.downsample\.", lambda stage: f"layers.{int(stage[1]) + 1}.downsample.", name)
