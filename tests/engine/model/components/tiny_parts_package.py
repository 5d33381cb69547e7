"""The example package of docs/components.md: its source, configs that name its parts, and its installation in a folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from engine.model.config import BackboneComponent, PixelDecoderComponent
from engine.model.families.dimaskdino.config import BalancedDecoderConfig, DiMaskDinoConfig
from engine.model.families.mask2former.config import Mask2FormerConfig, MaskedDecoderComponent
from engine.model.families.mask_rcnn.config import MaskRcnnConfig
from engine.model.families.maskdino.config import DecoderComponent, MaskDinoConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = Path(__file__).with_name("tiny-parts")

_PARTS = {
    "num_classes": 1,
    "hidden_dim": 32,
    "backbone": BackboneComponent(name="tiny_parts.pooling", options={"width": 24}),
    "pixel_decoder": PixelDecoderComponent(name="tiny_parts.pyramid", levels=4, mask_dim=32),
    "detections_per_image": 5,
}
CONFIGS = {
    "mask_dino": MaskDinoConfig(decoder=DecoderComponent(name="tiny_parts.refiner", queries=12), **_PARTS),
    "mask2former": Mask2FormerConfig(decoder=MaskedDecoderComponent(name="tiny_parts.painter", queries=9), **_PARTS),
    "di_mask_dino": DiMaskDinoConfig(
        decoder=BalancedDecoderConfig(
            first_queries=20, queries=12, guiding_tokens=5, layers=2, feedforward=40, heads=4, interaction_layers=1
        ),
        **_PARTS,
    ),
    "mask_rcnn": MaskRcnnConfig(num_classes=1, hidden_dim=32, backbone=_PARTS["backbone"], anchor_sizes=(12, 24, 48, 96, 192)),
}
"""A model of each family, with all the parts of the package that it can have."""


def install(folder: Path) -> Path:
    """Lay the package and its metadata out in a folder, as pip would, for that to be on the path."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = folder / f"tiny_parts-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    shutil.copy(SOURCE / "tiny_parts.py", folder)
    return folder
