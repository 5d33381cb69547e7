"""Choices that several commands offer."""

from __future__ import annotations

from enum import Enum


class Precision(str, Enum):
    """In what numbers the model computes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class OnDamage(str, Enum):
    """What a block of the raster does that cannot be decoded."""

    fail = "fail"
    skip = "skip"
