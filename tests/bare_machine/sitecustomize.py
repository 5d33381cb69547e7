"""Hide what a bare GPU machine lacks: put this folder on PYTHONPATH, and every Python that starts does without it.

Such a machine has torch, torchvision, timm, lightning, scikit-image, pytest and typer. It has neither the geospatial packages
nor this project as an installed distribution. ``MASKDINO_TEST_CARRIED`` names packages that somebody brought along.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

MISSING = {
    "affine", "faster_coco_eval", "geopandas", "hypothesis", "pycocotools", "pyogrio", "pyproj", "qgis_maskdino", "rasterio",
    "shapely", "submitit", "tensorboard",
} - set(os.environ.get("MASKDINO_TEST_CARRIED", "").split(","))  # fmt: skip


class Remaining:
    """What PathFinder finds, without packages and distributions that are missing."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(*context):
        found = PathFinder.find_distributions(*context)
        return (each for each in found if (each.name or "").replace("-", "_") not in MISSING)

    @staticmethod
    def invalidate_caches():
        PathFinder.invalidate_caches()


sys.meta_path[sys.meta_path.index(PathFinder)] = Remaining
