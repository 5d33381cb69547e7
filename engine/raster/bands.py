"""Which bands of a raster the model sees."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from engine.errors import ArgumentError, RasterFitError

logger = logging.getLogger(__name__)

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
# ITU-R BT.601: what a grey model sees of a palette's colours.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class BandSelection:
    """The bands to read and what becomes of them.

    Attributes:
        indexes: 1-based bands of the raster, in the order of the model's. One only where it is repeated or is a palette.
        count: bands of the tile.
        palette: (256 or 65536, count) float32 0..255, the colours of a palette; None for an ordinary raster.
        opaque: (256 or 65536,) bool, which entries of the palette are not transparent; None without a palette.
    """

    indexes: tuple[int, ...]
    count: int
    palette: np.ndarray | None = None
    opaque: np.ndarray | None = None


def select_bands(
    dataset: DatasetReader | WarpedVRT, *, bands: Sequence[int] | None, band_count: int | None, name: str
) -> BandSelection:
    """Choose the bands that a model of ``band_count`` bands gets.

    Without an explicit choice these are red, green and blue by their colour interpretation where the raster has them, else
    the first bands; alpha is never one of them. A single band is repeated, a palette is expanded to its colours.

    Args:
        dataset: an open rasterio dataset.
        bands: 1-based bands, in the order of the model's; they may repeat. None chooses by the rule above.
        band_count: bands of the model; None takes what the raster offers: 3, or 1 from a grey raster.
        name: what messages call the raster.

    Raises:
        ArgumentError: ``bands`` names a band that is not there, or does not fit the model.
        RasterFitError: the raster has not enough bands.
    """
    if bands is not None:
        indexes = _explicit(dataset, tuple(bands), band_count, name)
    else:
        indexes = _by_interpretation(dataset, band_count, name)
    palette = _palette(dataset, indexes[0]) if len(indexes) == 1 else None
    count = band_count or (3 if palette is not None else len(indexes))
    if palette is not None and count in (1, 3):
        colours, opaque = palette
        logger.info("%s: the palette of band %d is expanded to its colours.", name, indexes[0])
        return BandSelection(indexes, count, colours if count == 3 else colours @ LUMINANCE[:, None], opaque)
    if len(indexes) == 1 and count > 1:
        logger.info("%s: band %d is repeated for a model of %d bands.", name, indexes[0], count)
    return BandSelection(indexes, count)


def _explicit(dataset: DatasetReader | WarpedVRT, bands: tuple[int, ...], band_count: int | None, name: str) -> tuple[int, ...]:
    missing = [band for band in bands if not 1 <= band <= dataset.count]
    if missing or not bands:
        raise ArgumentError(
            f"bands is {','.join(map(str, bands)) or 'empty'}, but {name} has bands 1 to {dataset.count}.",
            hint="Bands are counted from 1, for example --bands 1,2,3.",
        )
    if band_count is not None and len(bands) not in (1, band_count):
        raise ArgumentError(
            f"bands is {','.join(map(str, bands))}, but the model has {band_count} bands.",
            hint=f"Name {band_count} bands; one may stand twice.",
        )
    return bands


def _by_interpretation(dataset: DatasetReader | WarpedVRT, band_count: int | None, name: str) -> tuple[int, ...]:
    meanings = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    by_meaning = {meaning: index for index, meaning in reversed(meanings.items())}
    colours = tuple(by_meaning[meaning] for meaning in RGB if meaning in by_meaning)
    pictured = [index for index, meaning in meanings.items() if meaning is not ColorInterp.alpha]
    if not pictured:  # a mask of its own, with nothing that it masks
        pictured = list(dataset.indexes)
    wanted = band_count or (3 if len(pictured) >= 3 else 1)
    if wanted == 1 or len(pictured) == 1:
        return (by_meaning.get(ColorInterp.gray, pictured[0]),)
    if len(colours) == 3:
        pictured = [*colours, *(index for index in pictured if index not in colours)]
    if len(pictured) < wanted:
        raise RasterFitError(
            f"{name} has {len(pictured)} bands to see, the model needs {wanted}.",
            hint=f"Choose them yourself, for example --bands {','.join(['1'] * (wanted - 1) + ['2'])}.",
        )
    chosen = tuple(pictured[:wanted])
    logger.info("%s: bands %s are used.", name, ", ".join(f"{band} ({meanings[band].name})" for band in chosen))
    return chosen


def _palette(dataset: DatasetReader | WarpedVRT, index: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the (entries, 3) colours and the (entries,) opacity of a band's palette, or None where it has none."""
    if dataset.colorinterp[index - 1] is not ColorInterp.palette:
        return None
    try:
        entries = dataset.colormap(index)
    except ValueError:  # called a palette, and carries none
        return None
    table = np.zeros((256 if dataset.dtypes[index - 1] == "uint8" else 65536, 4), np.float32)
    for value, colour in entries.items():
        if 0 <= value < len(table):
            table[value] = colour
    return table[:, :3].copy(), table[:, 3] > 0
