"""Models and images to measure with: weights that follow from the parameters' names, smooth noise for imagery.

A model is built and filled on its device: on a CPU the initialisation of Swin-L alone takes most of a minute.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import engine
from engine.model.families.maskdino.model import MaskDino

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from tests.parity_weights import shaped  # noqa: E402

_CONSTANTS = ("empty_weight", "relative_position_index", "num_batches_tracked")


def untrained_model(name: str, device: str) -> MaskDino:
    """Build a preset on a device and fill it there."""
    with torch.device(device):
        model = engine.build_model(name)
    engine.load_official(model, filled(engine.export_official(model)))
    return model.to(device)


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill a published state dict where it lies, by the rule of the parity figures and with torch's own noise.

    Names that share a tensor share a value too.
    """
    values: dict[int, Tensor] = {}
    result = {}
    for name in sorted(state):
        tensor = state[name]
        if name.endswith(_CONSTANTS):
            result[name] = tensor
            continue
        if tensor.data_ptr() not in values:
            generator = torch.Generator(tensor.device).manual_seed(zlib.crc32(name.encode()))
            values[tensor.data_ptr()] = shaped(name, torch.randn(tensor.shape, generator=generator, device=tensor.device))
        result[name] = values[tensor.data_ptr()]
    return result


def smooth_images(count: int, size: int, device: str) -> Tensor:
    """Smooth noise: (count, 3, size, size) in 0..255."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, max(2, size // 8), max(2, size // 8), generator=generator).to(device) * 255
    return F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
