"""Choose the lattice of pixels that a raster is worked on in."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from affine import Affine

from engine.errors import RasterFitError
from engine.raster.georeference import Georeference

logger = logging.getLogger(__name__)

# Models see objects within about a factor of two of the size that they learnt; 5 % more or less is far below that, and
# the raster's own pixels are both sharper and faster than resampled ones.
GSD_TOLERANCE = 0.05
# A house of 8 m is 3 pixels on a raster eight times coarser than 0.3 m: there is nothing left to find.
COARSEST = 8.0


@dataclass(frozen=True)
class WorkingGrid:
    """The raster's own pixels, or others over exactly the same ground, with the same origin and rotation.

    Attributes:
        width: columns.
        height: rows.
        transform: affine from pixels (col, row) to map coordinates.
        pixel_size: metres on the ground along a row and along a column; None where unknown.
        is_native: whether these are the raster's own pixels.
    """

    width: int
    height: int
    transform: Affine
    pixel_size: tuple[float, float] | None
    is_native: bool


def choose_working_grid(place: Georeference, width: int, height: int, *, gsd: float | None, name: str) -> WorkingGrid:
    """Choose the working grid of a raster of ``width`` by ``height`` pixels.

    Without a wanted ``gsd`` it is the raster's own, pixel for pixel, whatever their shape. With one, it is the raster's
    own if both sides of its pixels are within 5 % of that, else one whose pixels are square on the ground. A raster that
    does not say how large its pixels are is taken to have the size that is wanted.

    Raises:
        RasterFitError: the raster is too coarse to see buildings in it.
    """
    native = WorkingGrid(width, height, place.transform, place.pixel_size, is_native=True)
    if gsd is None:
        return native
    if place.pixel_size is None:
        logger.warning("%s: its pixels are taken to be %g m large, as the model wants.", name, gsd)
        return WorkingGrid(width, height, place.transform, (gsd, gsd), is_native=True)
    if all(abs(size / gsd - 1) <= GSD_TOLERANCE for size in place.pixel_size):
        return native
    coarsest = max(place.pixel_size)
    if coarsest > COARSEST * gsd:
        raise RasterFitError(
            f"{name} has pixels of {coarsest:.3g} m; to a model of {gsd:.3g} m per pixel that is too coarse to see buildings.",
            hint=f"Give a finer raster, or look at its own pixels with --gsd {coarsest:.3g}.",
        )
    columns, rows = (max(1, round(length * size / gsd)) for length, size in zip((width, height), place.pixel_size, strict=True))
    across, down = width / columns, height / rows
    a, b, c, d, e, f = place.transform[:6]
    logger.info("%s: resampled from %.3g x %.3g m to %.3g m per pixel.", name, *place.pixel_size, gsd)
    return WorkingGrid(
        columns,
        rows,
        Affine(a * across, b * down, c, d * across, e * down, f),
        (place.pixel_size[0] * across, place.pixel_size[1] * down),
        is_native=False,
    )
