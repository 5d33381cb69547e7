"""The catalogue of published checkpoints: names, figures, and where their makers keep them.

Figures are those of the makers' own tables (https://github.com/IDEA-Research/MaskDINO#results,
https://github.com/CQU-ADHRI-Lab/DI-MaskDINO#models and `mask2former/README.md` of
https://github.com/SHI-Labs/Neighborhood-Attention-Transformer), in per cent on COCO val2017, ADE20K and Cityscapes. Nothing is
downloaded by this program.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

RELEASE = "https://github.com/IDEA-Research/detrex-storage/releases/download/maskdino-v0.1.0/"
LICENCE = "Apache-2.0 (the repository's)"
Task = Literal["instance", "panoptic", "semantic"]


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """One checkpoint as published.

    Attributes:
        file: its name at ``release``; where the makers name none, that of the config beside it.
        task: what it was trained for.
        classes: how many its classifier has.
        figures: by name, in per cent.
        preset: the preset that it is built like, with as many classes as it has.
        page: where to get it, if not at ``release`` under its name.
    """

    file: str
    task: Task
    data: str
    backbone: str
    classes: int
    figures: dict[str, float]
    preset: str
    note: str = ""
    release: str = RELEASE
    page: str = ""
    makers: str = "IDEA-Research"
    licence: str = LICENCE

    @property
    def url(self) -> str:
        return self.page or self.release + self.file

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"url": self.url}


def _mask2former(task: Task, data: str, classes: int, figures: dict[str, float]) -> PublishedModel:
    """Return the entry of a Mask2Former with DiNAT-L."""
    return PublishedModel(
        file=f"mask2former_dinat_large_{data.lower()}_{task}.pth",
        task=task,
        data=data,
        backbone="DiNAT-L (ImageNet-21k)",
        classes=classes,
        figures=figures,
        preset="mask2former_dinatl" if task == "instance" else f"mask2former_dinatl_{task}",
        release="https://shi-labs.com/projects/dinat/checkpoints/m2f/",
        makers="SHI-Labs",
        licence="MIT (the repository's)",
    )


def _di_mask_dino(epochs: int, place: str, figures: dict[str, float]) -> PublishedModel:
    """Return the entry of a DI-MaskDINO, whose makers keep the files at Google Drive."""
    page = f"https://drive.google.com/{place}"
    return PublishedModel(
        file=f"dimaskdino_r50_4scale_bs16_{epochs}ep.pth",
        task="instance",
        data="COCO",
        backbone="ResNet-50",
        classes=80,
        figures=figures,
        preset="dimaskdino_r50",
        note=f"{epochs} epochs; at {page}, here by the name of its config",
        release="https://github.com/CQU-ADHRI-Lab/DI-MaskDINO",
        page=page,
        makers="CQU-ADHRI-Lab",
    )


PUBLISHED: tuple[PublishedModel, ...] = (
    PublishedModel(
        file="maskdino_r50_50ep_300q_hid2048_3sd1_instance_maskenhanced_mask46.3ap_box51.7ap.pth",
        task="instance",
        data="COCO",
        backbone="ResNet-50",
        classes=80,
        figures={"mask AP": 46.3, "box AP": 51.7},
        preset="maskdino_r50",
    ),
    PublishedModel(
        file="maskdino_r50_50ep_300q_hid1024_3sd1_instance_maskenhanced_mask46.1ap_box51.5ap.pth",
        task="instance",
        data="COCO",
        backbone="ResNet-50",
        classes=80,
        figures={"mask AP": 46.1, "box AP": 51.5},
        preset="maskdino_r50_hid1024",
        note="encoder feed-forward 1024",
    ),
    PublishedModel(
        file="maskdino_swinl_50ep_300q_hid2048_3sd1_instance_maskenhanced_mask52.3ap_box59.0ap.pth",
        task="instance",
        data="COCO",
        backbone="Swin-L (ImageNet-21k)",
        classes=80,
        figures={"mask AP": 52.3, "box AP": 59.0},
        preset="maskdino_swinl",
    ),
    PublishedModel(
        file="maskdino_swinl_50ep_300q_hid2048_3sd1_instance_mask52.1ap_box58.3ap.pth",
        task="instance",
        data="COCO",
        backbone="Swin-L (ImageNet-21k)",
        classes=80,
        figures={"mask AP": 52.1, "box AP": 58.3},
        preset="maskdino_swinl_no_mask_enhance",
        note="boxes not initialised from masks",
    ),
    PublishedModel(
        file="maskdino_r50_50ep_300q_hid2048_3sd1_panoptic_pq53.0.pth",
        task="panoptic",
        data="COCO",
        backbone="ResNet-50",
        classes=133,
        figures={"PQ": 53.0, "mask AP": 48.8, "box AP": 44.3, "mIoU": 60.6},
        preset="maskdino_r50_panoptic",
        note="mask and box AP as printed; going by the other rows, they may stand in each other's column",
    ),
    PublishedModel(
        file="maskdino_swinl_50ep_300q_hid2048_3sd1_panoptic_58.3pq.pth",
        task="panoptic",
        data="COCO",
        backbone="Swin-L (ImageNet-21k)",
        classes=133,
        figures={"PQ": 58.3, "mask AP": 50.6, "box AP": 56.2, "mIoU": 67.5},
        preset="maskdino_swinl_panoptic",
    ),
    PublishedModel(
        file="maskdino_r50_50ep_100q_celoss_hid1024_3s_semantic_ade20k_48.7miou.pth",
        task="semantic",
        data="ADE20K",
        backbone="ResNet-50",
        classes=150,
        figures={"mIoU": 48.7},
        preset="maskdino_r50_semantic",
    ),
    PublishedModel(
        file="maskdino_r50_50ep_100q_celoss_hid1024_3s_semantic_cityscapes_79.8miou.pth",
        task="semantic",
        data="Cityscapes",
        backbone="ResNet-50",
        classes=19,
        figures={"mIoU": 79.8},
        preset="maskdino_r50_semantic",
    ),
    _di_mask_dino(12, "open?id=1oQociMQSt_jmQtH3pm92i6zat8Gt83Oh", {"mask AP": 42.3, "box AP": 46.9}),
    _di_mask_dino(24, "open?id=1FjoYiwGnrk_bk0nUM7GPeIMGENVLdx7n", {"mask AP": 44.8, "box AP": 49.6}),
    _di_mask_dino(50, "open?id=17_SErWYBWWCdYfR6i7OJtcBIlCDES10z", {"mask AP": 46.7, "box AP": 51.9}),
    _mask2former("instance", "COCO", 80, {"mask AP": 50.8}),
    _mask2former("instance", "ADE20K", 100, {"mask AP": 35.4}),
    _mask2former("instance", "Cityscapes", 8, {"mask AP": 45.1}),
    _mask2former("panoptic", "COCO", 133, {"PQ": 58.5, "mask AP": 49.2, "mIoU": 68.3}),
    _mask2former("panoptic", "ADE20K", 150, {"PQ": 49.4, "mask AP": 35.0, "mIoU": 56.3}),
    _mask2former("panoptic", "Cityscapes", 19, {"PQ": 67.2, "mask AP": 44.5, "mIoU": 83.4}),
    _mask2former("semantic", "ADE20K", 150, {"mIoU at several scales": 58.1}),
    _mask2former("semantic", "Cityscapes", 19, {"mIoU at several scales": 84.5}),
)


def find_published(file_name: str) -> PublishedModel | None:
    """Look a checkpoint up by the name of its file."""
    return next((model for model in PUBLISHED if model.file == file_name), None)
