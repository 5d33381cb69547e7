"""Weights that anyone can reproduce from the parameters' names alone: the rule by which the parity figures were made.

The rule stands in tests/goldens/README.md, section "Weights".
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tests.goldens.recordings import published_tensors

Noise = TypeVar("Noise", np.ndarray, Tensor)

_OUTPUT_PROJECTIONS = (
    "self_attn.output_proj.weight",
    "cross_attn.output_proj.weight",
    "self_attn.out_proj.weight",
    "linear2.weight",
)
_BIAS_SHIFTS = {
    "mask_embed.layers.2.bias": -0.13,
    "pixel_decoder.mask_features.bias": 0.27,
    "class_embed.bias": -4.0,
    "mask_output_conv.norm.bias": -0.5,
}


def fill(name: str, shape: tuple[int, ...], suffix: str = "") -> np.ndarray:
    """Return the float32 array that the rule gives to the tensor published as ``name``; ``suffix`` is another seed."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32((name + suffix).encode())))
    return shaped(name, generator.standard_normal(size=tuple(shape))).astype(np.float32)


def shaped(name: str, noise: Noise) -> Noise:
    """Turn standard normal noise, an array or a tensor, into what the rule gives to the tensor published as ``name``."""
    if name.endswith("running_var"):
        return 1 + 0.1 * abs(noise)
    if name.endswith("running_mean"):
        return 0.1 * noise
    if noise.ndim >= 2:
        centred = noise - noise.mean(axis=tuple(range(1, noise.ndim)), keepdims=True)
        return centred / np.sqrt(np.prod(noise.shape[1:])) * _gain(name, noise.ndim)
    if name.endswith("weight"):
        return 1 + 0.1 * noise
    shift = next((shift for ending, shift in _BIAS_SHIFTS.items() if name.endswith(ending)), 0.0)
    return 0.1 * noise + shift


def filled_state_dict(model: str, suffix: str = "") -> dict[str, Tensor]:
    """Fill every tensor that a published checkpoint of ``model`` holds: aliases share one value, constants are left out."""
    filled: dict[str, Tensor] = {}
    for name, entry in published_tensors(model).items():
        if entry.get("constant"):
            continue
        canonical = entry.get("alias_of", name)
        if canonical not in filled:
            filled[canonical] = torch.from_numpy(fill(canonical, tuple(entry["shape"]), suffix))
        filled[name] = filled[canonical]
    return filled


def _gain(name: str, dimensions: int) -> float:
    if name.startswith("backbone.") and dimensions == 4:
        return 1.5
    if name.endswith(_OUTPUT_PROJECTIONS):
        return 0.4
    return 3.0 if name.endswith("class_embed.weight") else 1.0
