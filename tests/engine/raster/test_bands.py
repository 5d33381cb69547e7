"""Which bands the model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.enums import ColorInterp

from engine.errors import ArgumentError, RasterFitError
from engine.raster.bands import BandSelection, select_bands
from engine.raster.opening import open_dataset
from tests.engine.raster.raster_files import picture, write_raster

RED, GREEN, BLUE, ALPHA = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
GREY, OTHER = ColorInterp.gray, ColorInterp.undefined


def selected(
    folder: Path, meanings: list[ColorInterp], *, bands: tuple[int, ...] | None = None, band_count: int | None = 3
) -> BandSelection:
    path = write_raster(folder / "a.tif", picture(bands=len(meanings)), colorinterp=meanings)
    with open_dataset(path) as dataset:
        return select_bands(dataset, bands=bands, band_count=band_count, name="a.tif")


@pytest.mark.parametrize(
    ("meanings", "band_count", "expected"),
    [
        ([RED, GREEN, BLUE], 3, (1, 2, 3)),
        ([BLUE, GREEN, RED], 3, (3, 2, 1)),
        ([RED, GREEN, BLUE, ALPHA], 3, (1, 2, 3)),
        ([ALPHA, OTHER, OTHER, OTHER], 3, (2, 3, 4)),
        ([OTHER] * 8, 3, (1, 2, 3)),
        ([OTHER, BLUE, GREEN, RED, OTHER], 3, (4, 3, 2)),
        ([OTHER, BLUE, GREEN, RED, OTHER], 4, (4, 3, 2, 1)),
        ([BLUE, GREEN, RED, OTHER], 4, (3, 2, 1, 4)),
        ([GREY], 3, (1,)),
        ([GREY, ALPHA], 3, (1,)),
        ([GREY], None, (1,)),
        ([RED, GREEN, BLUE, ALPHA], None, (1, 2, 3)),
        ([RED, GREEN, BLUE], 1, (1,)),
        ([ALPHA], 1, (1,)),
    ],
)
def test_bands_are_chosen_by_their_meaning_then_their_order(
    tmp_path: Path, meanings: list[ColorInterp], band_count: int | None, expected: tuple[int, ...]
) -> None:
    assert selected(tmp_path, meanings, band_count=band_count).indexes == expected


def test_named_bands_are_taken_in_their_order_and_may_repeat(tmp_path: Path) -> None:
    assert selected(tmp_path, [RED, GREEN, BLUE, ALPHA], bands=(4, 4, 2)).indexes == (4, 4, 2)


def test_a_named_single_band_serves_every_band_of_the_model(tmp_path: Path) -> None:
    chosen = selected(tmp_path, [RED, GREEN, BLUE], bands=(2,))
    assert (chosen.indexes, chosen.count) == ((2,), 3)


@pytest.mark.parametrize(
    ("bands", "named"),
    [((1, 2, 4), "bands is 1,2,4"), ((0, 1, 2), "bands is 0,1,2"), ((1, 2), "bands is 1,2"), ((), "bands is empty")],
)
def test_bands_that_do_not_fit_are_refused_by_name(tmp_path: Path, bands: tuple[int, ...], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        selected(tmp_path, [RED, GREEN, BLUE], bands=bands)


def test_two_bands_are_too_few_for_three(tmp_path: Path) -> None:
    with pytest.raises(RasterFitError, match=r"2 bands to see, the model needs 3\..*--bands 1,1,2"):
        selected(tmp_path, [GREY, OTHER])


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    colours = {0: (0, 0, 0, 0), 1: (255, 10, 20, 255), 2: (30, 40, 50, 255)}
    path = write_raster(tmp_path / "a.png", picture(bands=1) % 3, colormap=colours, driver="PNG")
    with open_dataset(path) as dataset:
        for band_count in (3, None):
            chosen = select_bands(dataset, bands=None, band_count=band_count, name="a.png")
            np.testing.assert_array_equal(chosen.palette[:3], [[0, 0, 0], [255, 10, 20], [30, 40, 50]])
            assert chosen.opaque[:3].tolist() == [False, True, True]
        grey = select_bands(dataset, bands=None, band_count=1, name="a.tif")
    np.testing.assert_allclose(grey.palette[1], 0.299 * 255 + 0.587 * 10 + 0.114 * 20, rtol=1e-5)
