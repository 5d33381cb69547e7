"""Tell the config of torchvision's ``maskrcnn_resnet50_fpn_v2`` from the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import ModelFileError
from engine.model.families.mask_rcnn.config import MaskRcnnConfig

if TYPE_CHECKING:
    from torch import Tensor


def published_config(tensors: Mapping[str, Tensor]) -> MaskRcnnConfig:
    """Work out the config of a state dict of torchvision; its anchors are torchvision's.

    Raises:
        ModelFileError: it is not torchvision's second version with a ResNet.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        scores = shapes["roi_heads.box_predictor.cls_score.weight"]
        return MaskRcnnConfig(
            num_classes=scores[0] - 1,  # without the background
            backbone=_resnet(shapes),
            hidden_dim=shapes["backbone.fpn.inner_blocks.0.0.weight"][0],
            box_features=scores[1],
        )
    except (KeyError, IndexError, ValueError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else error
        raise ModelFileError(
            f"its tensors are not those of torchvision's maskrcnn_resnet50_fpn_v2 ({missing}).",
            hint="The first version, maskrcnn_resnet50_fpn, has other heads and cannot be used.",
        ) from error


def _resnet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    stages = [f"backbone.body.layer{stage}" for stage in range(1, 5)]
    return {
        "kind": "resnet",
        "block": "bottleneck" if f"{stages[0]}.0.conv3.weight" in shapes else "basic",
        "depths": [sum(re.fullmatch(rf"{stage}\.\d+\.conv1\.weight", name) is not None for name in shapes) for stage in stages],
        "widths": [shapes[f"{stage}.0.conv1.weight"][0] for stage in stages],
        "norm": "batch",
        "stem": "basic" if "backbone.body.conv1.weight" in shapes else "deep",
    }
