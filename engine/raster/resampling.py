"""Resample windows of a raster so that every window gives the same pixels, whichever way the raster is cut.

GDAL's own decimated reads place their samples relative to the window that was asked for, and a warped raster relative to
its blocks and an approximated transform. Here the weights of a pixel follow from its place in the working grid alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class AxisResampling:
    """How the pixels of one axis of the working grid come from those of the source.

    A working pixel that is larger than a source pixel is the average of the ground that it covers, as a coarser sensor
    would have seen it; a smaller one is interpolated linearly between the centres of the source pixels.

    Attributes:
        source_length: pixels of the source along this axis.
        length: pixels of the working grid along this axis; both cover exactly the same ground.
    """

    source_length: int
    length: int

    @property
    def scale(self) -> float:
        """Source pixels a working pixel."""
        return self.source_length / self.length

    @property
    def is_identity(self) -> bool:
        return self.source_length == self.length

    @property
    def method(self) -> str:
        if self.is_identity:
            return "none"
        return "average" if self.scale > 1 else "bilinear"

    def source_span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the half-open span of source pixels that the working pixels ``start .. stop`` are made of."""
        if self.is_identity:
            return start, stop
        # One pixel more on each side than the linear kernel reaches costs nothing and needs no thought about rounding.
        low = int(np.floor(start * self.scale)) - 1
        high = int(np.ceil(stop * self.scale)) + 1
        return max(0, low), min(self.source_length, high)

    @functools.lru_cache(maxsize=512)  # noqa: B019 - the tiles of a column share theirs; a matrix takes a few kilobytes
    def weights(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return the (stop - start, span length) float32 weights of the pixels of ``source_span``; each row sums to 1."""
        low, high = self.source_span(start, stop)
        target = np.arange(start, stop, dtype=np.float64)
        taps = int(np.ceil(max(self.scale, 1.0))) + 1
        if self.scale > 1:
            first = np.floor(target * self.scale)
            source = first[:, None] + np.arange(taps)
            ends = np.minimum(source + 1, ((target + 1) * self.scale)[:, None])
            values = np.maximum(0, ends - np.maximum(source, (target * self.scale)[:, None]))
        else:
            centre = (target + 0.5) * self.scale - 0.5
            source = np.floor(centre)[:, None] + np.arange(taps)
            values = np.maximum(0, 1 - np.abs(source - centre[:, None]))
        values[(source < 0) | (source >= self.source_length)] = 0
        values /= values.sum(axis=1, keepdims=True)
        rows, places = np.nonzero(values)
        columns = source[rows, places].astype(np.int64) - low
        shape = (stop - start, high - low)
        return sparse.csr_matrix((values[rows, places].astype(np.float32), (rows, columns)), shape=shape)


def resample(pixels: np.ndarray, rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> np.ndarray:
    """Apply the weights of both axes: (bands, h, w) float32 of the source's span -> (bands, H, W) float32."""
    result = np.empty((len(pixels), rows.shape[0], columns.shape[0]), np.float32)
    for band, source in zip(result, pixels, strict=True):
        across = np.ascontiguousarray((rows @ source).T)  # (w, H)
        band[:] = (columns @ across).T
    return result


def resample_valid(
    pixels: np.ndarray, valid: np.ndarray, rows: sparse.csr_matrix, columns: sparse.csr_matrix
) -> tuple[np.ndarray, np.ndarray]:
    """Resample what is valid, so that nothing of the pixels without data bleeds into their neighbours.

    Args:
        pixels: (bands, h, w) float32, zero where not valid.
        valid: (h, w) bool.
        rows: weights of the rows.
        columns: weights of the columns.

    Returns:
        The (bands, H, W) float32 pixels and their (H, W) bool validity: at least half of a pixel's weight had data.
    """
    share = resample(valid[None].astype(np.float32), rows, columns)[0]
    kept = share >= 0.5
    values = resample(pixels, rows, columns)
    values /= np.where(kept, share, 1)
    return values, kept
