"""Hash what a picture shows, not its bytes: the same for copies that were stored, resized, brightened, turned or mirrored.

The hash is the sign of the lowest frequencies of a discrete cosine transform (Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010). Those of the eight orientations of a picture need no second look at it: a mirrored
picture has the same coefficients with every other sign changed, a transposed one has them transposed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.coco.image_files import open_image

SIDE = 32  # of a thumbnail, in pixels
ORIENTATIONS = 8
HASH_BITS = 64
_MAX_FREQUENCY = 10  # u + v of a coefficient; 65 of them, less the mean, less one on the diagonal
_CELLS = 4  # blocks along the side of a thumbnail that are compared each by itself
_FLAT = 2.0  # grey levels: what a block of less contrast shows may be the noise of its compression


def read_thumbnail(path: str | Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Read a picture as grey, (SIDE, SIDE) uint8.

    A JPEG is decoded at a fraction of its size, which is most of the speed.

    Raises:
        OSError: it cannot be read as a picture.
    """
    with open_image(path) as picture:
        picture.draft("L", (2 * SIDE, 2 * SIDE))
        if picture.mode not in ("L", "RGB"):
            picture = picture.convert("RGB")
        grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(grey)


def is_blank(thumbnails: np.ndarray) -> np.ndarray:
    """Return which thumbnails (N, SIDE, SIDE) show nothing that could be told apart: (N,) bool."""
    return (_blocks(thumbnails.astype(np.float32)).std(axis=(-2, -1)) > _FLAT).sum(axis=-1) < 2


def hash_orientations(thumbnails: np.ndarray) -> np.ndarray:
    """Hash thumbnails (N, SIDE, SIDE) in their eight orientations: (N, 8) uint64, in the order of ``orient``."""
    basis = _cosines()
    coefficients = basis @ thumbnails.astype(np.float32) @ basis.T  # (N, _MAX_FREQUENCY + 1, the same)
    rows, columns = _places()
    bits = np.uint64(1) << np.arange(HASH_BITS, dtype=np.uint64)
    hashes = np.empty((len(thumbnails), ORIENTATIONS), dtype=np.uint64)
    for number in range(ORIENTATIONS):
        turned = coefficients.transpose(0, 2, 1) if number & 4 else coefficients
        values = turned[:, rows, columns]
        if number & 1:  # mirrored left to right
            values = values * np.where(columns % 2, -1, 1)
        if number & 2:  # upside down
            values = values * np.where(rows % 2, -1, 1)
        hashes[:, number] = ((values > 0) * bits).sum(axis=1, dtype=np.uint64)
    return hashes


def orient(pictures: np.ndarray, number: int) -> np.ndarray:
    """Turn pictures (..., H, W): transposed if ``number & 4``, then mirrored if ``& 1``, upside down if ``& 2``."""
    if number & 4:
        pictures = np.swapaxes(pictures, -1, -2)
    if number & 1:
        pictures = pictures[..., ::-1]
    return pictures[..., ::-1, :] if number & 2 else pictures


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compare thumbnails of the same orientation, pair by pair.

    Each of 16 blocks is correlated by itself and counts alike, so two pictures that share nothing but a black border or a
    coast line are not alike: what counts is what stands within. Blocks that are flat in both are left out.

    Args:
        first, second: (N, SIDE, SIDE) uint8.

    Returns:
        (N,) mean correlation, -1..1; 0 for two that are flat all over.
    """
    a, b = (_blocks(pictures.astype(np.float32)) for pictures in (first, second))
    a, b = (blocks - blocks.mean(axis=(-2, -1), keepdims=True) for blocks in (a, b))
    spread_a, spread_b = (np.sqrt((blocks**2).mean(axis=(-2, -1))) for blocks in (a, b))
    correlation = (a * b).mean(axis=(-2, -1)) / np.maximum(spread_a * spread_b, 1e-3)
    counted = np.maximum(spread_a, spread_b) > _FLAT
    return (correlation * counted).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 2)


def _blocks(pictures: np.ndarray) -> np.ndarray:
    """Take thumbnails apart: (N, SIDE, SIDE) to (N, 16, SIDE / 4, SIDE / 4)."""
    side = SIDE // _CELLS
    return pictures.reshape(-1, _CELLS, side, _CELLS, side).swapaxes(2, 3).reshape(-1, _CELLS**2, side, side)


@cache
def _cosines() -> np.ndarray:
    frequency, place = np.arange(_MAX_FREQUENCY + 1)[:, None], np.arange(SIDE)[None] + 0.5
    return np.cos(np.pi * frequency * place / SIDE).astype(np.float32)


@cache
def _places() -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the coefficients in the order of the bits, coarse ones first.

    With a place its mirror image is always there too: the hash of a transposed picture is made of the same coefficients.
    """
    places = [(u, total - u) for total in range(1, _MAX_FREQUENCY + 1) for u in range(total + 1)]
    places.remove((5, 5))
    rows, columns = np.array(places).T
    return rows, columns
