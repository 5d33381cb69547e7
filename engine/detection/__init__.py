"""Detection on rasters of any size: what finds instances in a tile is a ``Predictor``, what it finds are ``Instances``."""

from engine.detection.instances import Instances, Predictor

__all__ = ["Instances", "Predictor"]
