"""The official Mask DINO beside ours: built from a checkout of its code, which is no part of this project.

It wants a compiled CUDA operator at import. Without that its own fallback in PyTorch runs, which is how it runs on a CPU.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

CONFIG = "configs/coco/instance-segmentation/maskdino_R50_bs16_50ep_3s_dowsample1_2048.yaml"
OPERATOR = "MultiScaleDeformableAttention"


def official_r50(checkout: Path, detectron2: Path, weights: dict[str, Tensor]) -> Callable[[Tensor], object]:
    """Build the official R50 instance model with these weights; what is returned takes an image (3, H, W) in 0..255."""
    sys.path[:0] = [str(detectron2)]
    with contextlib.suppress(ImportError):
        importlib.import_module(OPERATOR)
    sys.modules.setdefault(OPERATOR, ModuleType(OPERATOR))
    # Its package imports the readers of many data sets; a bare one with the same path gives the model alone.
    package = ModuleType("maskdino")
    package.__path__ = [str(checkout / "maskdino")]
    sys.modules["maskdino"] = package
    configs, modeling, deeplab = (
        importlib.import_module(name) for name in ("maskdino.config", "detectron2.modeling", "detectron2.projects.deeplab")
    )
    importlib.import_module("maskdino.maskdino")
    importlib.import_module("maskdino.modeling")
    config = importlib.import_module("detectron2.config").get_cfg()
    deeplab.add_deeplab_config(config)
    configs.add_maskdino_config(config)
    config.merge_from_file(str(checkout / CONFIG))
    config.MODEL.DEVICE = "cpu"
    config.MODEL.WEIGHTS = ""
    with contextlib.redirect_stdout(io.StringIO()):
        model = modeling.META_ARCH_REGISTRY.get("MaskDINO")(config).eval()
    model.load_state_dict(weights)

    @torch.inference_mode()
    def predict(image: Tensor) -> object:
        height, width = image.shape[-2:]
        return model([{"image": image, "height": height, "width": width}])[0]["instances"]

    return predict
