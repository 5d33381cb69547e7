"""Small rasters written to disk, for tests that read them back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

UTM = "EPSG:32645"
UTM_TRANSFORM = Affine(0.3, 0, 360_000, 0, -0.3, 3_050_000)


def picture(height: int = 40, width: int = 50, *, bands: int = 3, seed: int = 0) -> np.ndarray:
    """Return (bands, height, width) uint8 noise that has every value and no symmetry."""
    return np.random.default_rng(seed).integers(0, 256, (bands, height, width), dtype=np.uint8)


def write_raster(
    path: Path,
    pixels: np.ndarray,
    *,
    crs: Any = UTM,
    transform: Affine | None = UTM_TRANSFORM,
    mask: np.ndarray | None = None,
    colormap: dict[int, tuple[int, int, int, int]] | None = None,
    overviews: list[int] | None = None,
    gcps: list[Any] | None = None,
    colorinterp: list[Any] | None = None,
    **profile: Any,
) -> Path:
    """Write (bands, height, width) pixels to a file and return its path."""
    count, height, width = pixels.shape
    place = {"crs": crs, "gcps": gcps} if gcps else {"crs": crs, "transform": transform}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path,
                "w",
                driver=profile.pop("driver", "GTiff"),
                width=width,
                height=height,
                count=count,
                dtype=pixels.dtype,
                **{key: value for key, value in place.items() if value is not None},
                **profile,
            ) as dataset,
        ):
            if colorinterp:  # before the pixels, or GeoTIFF has no room for it any more
                dataset.colorinterp = colorinterp
            dataset.write(pixels)
            if mask is not None:
                dataset.write_mask(mask)
            if colormap:
                dataset.write_colormap(1, colormap)
            if overviews:
                dataset.build_overviews(overviews, rasterio.enums.Resampling.average)
    return path


def whole(source: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read all of a raster source at once."""
    return source.read(Window(0, 0, source.width, source.height))
