"""The raster that a synthetic town is painted on: colour, height, and the noise that surfaces are made of."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage


class Canvas:
    """Colour and height of every pixel of a scene.

    Attributes:
        colour: (H, W, 3) float32, display RGB in 0..1, as a surface looks in even light.
        height: (H, W) float32, metres over the ground.
        gsd: metres per pixel.
        grain, fine, coarse, broad: (H, W) float32 noise about zero, standard deviation near one; features of one pixel,
            about 0.7 m, 3 m and 25 m.
    """

    def __init__(self, rng: np.random.Generator, size: int, gsd: float) -> None:
        self.size = size
        self.gsd = gsd
        self.colour = np.zeros((size, size, 3), dtype=np.float32)
        self.height = np.zeros((size, size), dtype=np.float32)
        self.grain = rng.standard_normal((size, size), dtype=np.float32)
        self.fine = smooth_noise(rng, size, 0.7 / gsd)
        self.coarse = 0.8 * smooth_noise(rng, size, 3.0 / gsd) + 0.5 * self.fine
        self.broad = 0.85 * smooth_noise(rng, size, 25.0 / gsd) + 0.45 * smooth_noise(rng, size, 8.0 / gsd)

    def mix(self, share: np.ndarray, colour: np.ndarray) -> None:
        """Blend ``colour`` ((3,) or (H, W, 3)) over the canvas; ``share`` (H, W) in 0..1 is how much of it."""
        touched = share > 0.004
        colour = np.asarray(colour, dtype=np.float32)
        over = colour[touched] if colour.ndim == 3 else colour
        under = self.colour[touched]
        self.colour[touched] = under + share[touched, None] * (over - under)


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Return (size, size) float32 noise whose features are about ``scale`` pixels wide, standard deviation near one.

    The noise is blurred on a lattice finer than its features before it is enlarged: enlarged from one cell a feature it would
    show the lattice.
    """
    cells = min(size, max(3, round(2.5 * size / max(scale, 1.0)) + 2))
    values = rng.standard_normal((cells, cells), dtype=np.float32)
    values = ndimage.gaussian_filter(values, 0.85, mode="wrap", truncate=2.5) * np.float32(2.9)
    if cells == size:
        return values
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise from 0 at ``low`` to 1 at ``high``, flat outside."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
