"""Detection on rasters of any size: what finds instances in a tile is a ``Predictor``, what it finds are ``Instances``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.detection.instances import Instances, Predictor

__all__ = ["Instances", "Predictor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from engine.detection import instances  # at first use: the command line reads the settings here, without NumPy

    return getattr(instances, name)
