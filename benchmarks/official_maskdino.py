"""The official Mask DINO beside ours: built from a checkout of its code, which is no part of this project.

It wants a compiled CUDA operator at import. Without that its own fallback in PyTorch runs, which is how it runs on a CPU.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

CONFIGS = {
    "maskdino_r50": "configs/coco/instance-segmentation/maskdino_R50_bs16_50ep_3s_dowsample1_2048.yaml",
    "maskdino_swinl": "configs/coco/instance-segmentation/swin/maskdino_R50_bs16_50ep_4s_dowsample1_2048.yaml",
}
OPERATOR = "MultiScaleDeformableAttention"


class OfficialMaskDino:
    """An official instance model, with weights under their published names.

    Args:
        name: ``maskdino_r50`` or ``maskdino_swinl``.
        checkout: of github.com/IDEA-Research/MaskDINO.
        detectron2: a checkout of github.com/facebookresearch/detectron2.
        weights: a state dict.
        classes: how many the weights know.
    """

    def __init__(
        self, name: str, *, checkout: Path, detectron2: Path, weights: dict[str, Tensor], classes: int, device: str = "cpu"
    ) -> None:
        self.device = device
        modeling, config = _imported(checkout, detectron2)
        config.merge_from_file(str(checkout / CONFIGS[name]))
        config.MODEL.DEVICE = device
        config.MODEL.WEIGHTS = ""
        config.MODEL.SEM_SEG_HEAD.NUM_CLASSES = classes
        # there: to initialise Swin-L on a CPU takes most of a minute
        with contextlib.redirect_stdout(io.StringIO()), torch.device(device):
            module: nn.Module = modeling.META_ARCH_REGISTRY.get("MaskDINO")(config)
        self.module = module.to(device).eval()  # MODEL.DEVICE alone moves nothing: detectron2's build_model would
        self.module.load_state_dict(weights)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> object:
        """Find the instances of images (B, 3, H, W) in 0..255."""
        height, width = images.shape[-2:]
        return self.module([{"image": image, "height": height, "width": width} for image in images])

    def losses(self, images: Tensor, targets: Sequence[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
        """Return the weighted losses of images; of each the labels (N,), boxes (N, 4) xyxy in pixels and masks (N, H, W)."""
        structures = importlib.import_module("detectron2.structures")
        inputs = []
        for image, (labels, boxes, masks) in zip(images, targets, strict=True):
            size = tuple(image.shape[-2:])
            instances = structures.Instances(size, gt_classes=labels, gt_boxes=structures.Boxes(boxes), gt_masks=masks)
            inputs.append({"image": image, "instances": instances, "height": size[0], "width": size[1]})
        with self._at_home():
            return self.module(inputs)

    @contextlib.contextmanager
    def _at_home(self):
        """Let its training code, which asks for CUDA by name, find the device that it is on."""
        if self.device != "cpu":
            yield
            return
        cuda, to = Tensor.cuda, Tensor.to
        Tensor.cuda = lambda tensor, *_, **__: tensor
        Tensor.to = lambda tensor, *where, **how: tensor if where == ("cuda",) else to(tensor, *where, **how)
        try:
            yield
        finally:
            Tensor.cuda, Tensor.to = cuda, to


def _imported(checkout: Path, detectron2: Path) -> tuple[ModuleType, object]:
    """Import the model alone, and return detectron2's modeling and a config that knows the model's keys."""
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
    return modeling, config
