"""What the baseline is trained for: torchvision's own losses of Mask R-CNN."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.model.families.mask_rcnn.model import MaskRcnn
from training.losses import LossConfig, Target
from training.losses.box_losses import cxcywh_to_xyxy
from training.objectives.objective import Objective


class MaskRcnnObjective(Objective):
    """Compute the losses of a Mask R-CNN on a batch; each weighs 1, as in torchvision.

    Torchvision's sampling of boxes knows no ignored ground: here it counts as background.
    """

    def __init__(self, model: MaskRcnn) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def build(cls, model: MaskRcnn, losses: LossConfig, *, auxiliary_loss: float = 0.0) -> MaskRcnnObjective:
        return cls(model)  # torchvision fixes the losses

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the losses of images (B, 3, H, W) in 0..255 by name; their sum is what is minimised."""
        return self.model.losses(images, [_in_pixels(target) for target in targets])


def _in_pixels(target: Target) -> dict[str, Tensor]:
    """Boxes as corners in pixels. Instances whose box is empty are left out: there is nothing in them to learn from."""
    height, width = target.masks.shape[-2:]
    boxes = cxcywh_to_xyxy(target.boxes) * target.boxes.new_tensor([width, height, width, height])
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return {"boxes": boxes[kept], "labels": target.labels[kept], "masks": target.masks[kept]}
