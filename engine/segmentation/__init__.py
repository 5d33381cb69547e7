"""Class rasters of any size: what scores the classes of a tile's pixels is a ``ScorePredictor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.segmentation.scores import ScorePredictor

__all__ = ["ScorePredictor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from engine.segmentation import scores  # at first use: the command line reads the settings here, without NumPy

    return getattr(scores, name)
