"""Class rasters of any size: what scores the classes of a tile's pixels is a ``ScorePredictor``."""

from engine.segmentation.scores import ScorePredictor

__all__ = ["ScorePredictor"]
