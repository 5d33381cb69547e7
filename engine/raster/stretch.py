"""How the values of a raster become the 0..255 that models see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from rasterio.windows import Window

from engine.errors import RasterError, RasterFitError

logger = logging.getLogger(__name__)

PERCENTILES = (2.0, 98.0)
# Of a raster larger than this the percentiles come from a sample of about as many pixels, in so many windows at most:
# memory and time stay bounded, and a percentile of a million pixels is good to a few hundredths of itself.
SAMPLE_PIXELS = 1_000_000
SAMPLE_WINDOWS = 256
# The usual marks for "no data" of floats (-3.4e38, 1e38) that nobody declared; no radiance is anywhere near.
ABSURD = 1e30


@dataclass(frozen=True, eq=False)
class Stretch:
    """A linear stretch of each band: ``low`` becomes 0, ``high`` becomes 255, what lies beyond is clipped.

    The bands are stretched apart, as GIS programs do by default: 16-bit products carry a different offset in each band
    (haze is blue), and models have learnt from pictures balanced in this way. A band without contrast becomes mid-grey.
    """

    low: np.ndarray
    high: np.ndarray

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Stretch (bands, H, W) float32 in place and return it."""
        span = self.high - self.low
        flat = span <= 0
        gain = np.where(flat, 0, 255 / np.where(flat, 1, span))
        pixels -= self.low.astype(np.float32)[:, None, None]
        pixels *= gain.astype(np.float32)[:, None, None]
        pixels[flat] = 127.5
        return np.clip(pixels, 0, 255, out=pixels)

    def __str__(self) -> str:
        return ", ".join(f"{low:g}..{high:g}" for low, high in zip(self.low, self.high, strict=True))


def check_values(dtypes: Sequence[str], *, name: str) -> None:
    """Refuse values that are no brightness.

    Raises:
        RasterFitError: the raster holds complex numbers.
    """
    complex_ones = [dtype for dtype in dtypes if dtype.startswith("complex")]  # NumPy has no name for complex_int16
    if complex_ones:
        raise RasterFitError(
            f"{name} holds complex numbers ({complex_ones[0]}), such as raw radar data.",
            hint="Turn them into amplitudes first, for example with gdal_calc.",
        )


def is_plausible(pixels: np.ndarray) -> np.ndarray:
    """Return which float values, of any shape, are numbers that a sensor or a product can have meant."""
    return np.abs(pixels) < ABSURD


def find_stretch(
    read: Callable[[Window], tuple[np.ndarray, np.ndarray]],
    *,
    width: int,
    height: int,
    block_shape: tuple[int, int],
    dtype: np.dtype,
    name: str,
) -> Stretch | None:
    """Find how the values of a raster become 0..255; None where they are taken as they are.

    8 bit values stay as they are, and so do wider integers of a raster that only uses 0..255. All others are stretched
    between percentiles 2 and 98 of the whole raster, so that what a tile looks like never depends on what else it shows.

    Args:
        read: gives the raw (bands, h, w) float32 pixels of a window and their (h, w) bool validity.
        width: of the raster.
        height: of the raster.
        block_shape: (height, width) of the blocks that the file is stored in.
        dtype: of the raster's values.
        name: what messages call the raster.
    """
    if dtype == np.uint8:
        return None
    sample = _sample(read, width, height, block_shape)
    if sample is None:
        logger.warning("%s: there is no data in it.", name)
        return None
    if np.issubdtype(dtype, np.integer) and sample.min() >= 0 and sample.max() <= 255:
        logger.info("%s: its %s values lie in 0..255 and are taken as 8 bit.", name, dtype)
        return None
    pictured = sample.any(axis=0)  # 0 in every band of a picture in 16 bit is a collar that nobody declared
    if pictured.any():
        sample = sample[:, pictured]
    low, high = np.percentile(sample, PERCENTILES, axis=1)
    sparse = high <= low  # a few bright things on an even ground
    low = np.where(sparse, sample.min(axis=1), low)
    high = np.where(sparse, sample.max(axis=1), high)
    stretch = Stretch(low, high)
    logger.info("%s: %s values are stretched between percentiles 2 and 98 of the raster: %s.", name, dtype, stretch)
    return stretch


def _sample(
    read: Callable[[Window], tuple[np.ndarray, np.ndarray]], width: int, height: int, block_shape: tuple[int, int]
) -> np.ndarray | None:
    """Return (bands, n) values with data from the first windows or, where these are empty, from the first that is not."""
    windows = SpreadWindows(width, height, block_shape)
    looked_at = min(width * height, SAMPLE_WINDOWS * windows[0].width * windows[0].height)
    step = max(1, round((looked_at / SAMPLE_PIXELS) ** 0.5))
    found: list[np.ndarray] = []
    damage: RasterError | None = None
    for number, window in enumerate(windows):
        if number >= SAMPLE_WINDOWS and found:
            break
        try:
            pixels, valid = read(window)
        except RasterError as error:  # whoever needs these pixels will hear of it; others can do without
            damage = error
            continue
        pixels, valid = pixels[:, ::step, ::step], valid[::step, ::step]
        if valid.any():
            found.append(pixels[:, valid])
    if damage is not None and not found:
        raise damage
    return np.concatenate(found, axis=1) if found else None


class SpreadWindows(Sequence[Window]):
    """The windows that cover a raster, each some whole blocks, in an order whose every beginning is spread over it."""

    def __init__(self, width: int, height: int, block_shape: tuple[int, int]) -> None:
        self.size = width, height
        self.width = min(width, max(256, min(block_shape[1], 2048)))
        self.height = min(height, max(65536 // self.width, min(block_shape[0], 2048)))
        self.across = -(-width // self.width)
        self.count = self.across * -(-height // self.height)
        # Multiples of the golden ratio are the most evenly spread sequence on a circle; a stride without a common
        # divisor visits each window once.
        self.stride = max(1, round(self.count * 0.6180339887498949))
        while gcd(self.stride, self.count) > 1:
            self.stride += 1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Window:
        if not 0 <= number < self.count:
            raise IndexError(number)
        row, col = divmod(number * self.stride % self.count, self.across)
        left, top = col * self.width, row * self.height
        return Window(left, top, min(self.width, self.size[0] - left), min(self.height, self.size[1] - top))
