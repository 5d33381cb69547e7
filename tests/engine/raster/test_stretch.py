"""What becomes of the values of a raster."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from engine.errors import RasterFitError
from engine.raster.stretch import SpreadWindows, Stretch, check_values, find_stretch, is_plausible


def stretch_of(pixels: np.ndarray, valid: np.ndarray | None = None, block: tuple[int, int] = (64, 64)) -> Stretch | None:
    everywhere = np.ones(pixels.shape[1:], bool) if valid is None else valid

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        rows, cols = window.toslices()
        return pixels[:, rows, cols].astype(np.float32), everywhere[rows, cols]

    _, height, width = pixels.shape
    return find_stretch(read, width=width, height=height, block_shape=block, dtype=pixels.dtype, name="raster")


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(1, 5000), (64, 64), (256, 256), (512, 512), (5000, 5000)]))
def test_windows_cover_a_raster_once_in_pieces_of_bounded_size(width: int, height: int, block: tuple[int, int]) -> None:
    windows = list(SpreadWindows(width, height, block))
    assert sum(window.width * window.height for window in windows) == width * height
    assert len({(window.col_off, window.row_off) for window in windows}) == len(windows)
    assert all(0 < window.width * window.height <= 5000 * 2048 for window in windows)


def test_the_first_windows_are_spread_over_the_raster() -> None:
    windows = SpreadWindows(25_600, 25_600, (256, 256))
    rows = np.histogram([windows[number].row_off for number in range(100)], bins=10, range=(0, 25_600))[0]
    cols = np.histogram([windows[number].col_off for number in range(100)], bins=10, range=(0, 25_600))[0]
    assert rows.min() > 0 and cols.min() > 0


def test_8_bit_stays_as_it_is() -> None:
    assert stretch_of(np.full((3, 8, 8), 7, np.uint8)) is None


def test_16_bit_with_8_bit_values_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="engine"):
        assert stretch_of(np.arange(256, dtype=np.uint16).reshape(1, 16, 16)) is None
    assert "taken as 8 bit" in caplog.text


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_percentiles_become_black_and_white(dtype: type, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.linspace(300, 20_300, 10_000).reshape(1, 100, 100).astype(dtype)
    with caplog.at_level(logging.INFO, logger="engine"):
        stretch = stretch_of(pixels)
    np.testing.assert_allclose([stretch.low[0], stretch.high[0]], [700, 19_900], rtol=1e-3)
    result = stretch(pixels.astype(np.float32))
    assert result.min() == 0 and result.max() == 255
    assert abs(result[0, 50, 0] - 127.5) < 1
    assert "percentiles 2 and 98" in caplog.text


def test_signed_bytes_are_stretched() -> None:
    stretch = stretch_of(np.tile(np.arange(-100, 100, dtype=np.int8), (1, 50, 1)))
    assert stretch.low[0] < -90 and stretch.high[0] > 90


def test_bands_are_stretched_apart() -> None:
    ramp = np.linspace(0, 1000, 2500, dtype=np.float32).reshape(50, 50)
    stretch = stretch_of(np.stack([ramp, ramp * 2 + 500]))
    one, two = stretch(np.stack([ramp, ramp * 2 + 500]))
    np.testing.assert_allclose(one, two, atol=0.01)


def test_pixels_without_data_do_not_count() -> None:
    pixels = np.linspace(1000, 2000, 10_000, dtype=np.float32).reshape(1, 100, 100)
    valid = np.ones((100, 100), bool)
    valid[:40] = False
    dirty = np.where(valid, pixels, np.float32(9e9))
    clean = stretch_of(pixels[:, 40:])
    stretch = stretch_of(dirty, valid)
    np.testing.assert_allclose([stretch.low, stretch.high], [clean.low, clean.high])


def test_a_black_collar_that_nobody_declared_does_not_count() -> None:
    pixels = np.linspace(1000, 2000, 10_000).astype(np.uint16).reshape(1, 100, 100)
    collar = np.pad(pixels, ((0, 0), (0, 0), (40, 0)))
    np.testing.assert_allclose(stretch_of(collar).low, stretch_of(pixels).low)


def test_a_few_bright_things_on_even_ground_stay_visible() -> None:
    pixels = np.full((1, 100, 100), 500, np.uint16)
    pixels[0, 10:13, 10:13] = 4000
    result = stretch_of(pixels)(pixels.astype(np.float32))
    assert result[0, 11, 11] == 255 and result[0, 0, 0] == 0


def test_no_contrast_is_mid_grey() -> None:
    pixels = np.full((2, 10, 10), 10_000, np.uint16)
    np.testing.assert_array_equal(stretch_of(pixels)(pixels.astype(np.float32)), 127.5)


def test_a_raster_without_data_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert stretch_of(np.zeros((1, 9, 9), np.uint16), np.zeros((9, 9), bool)) is None
    assert "no data" in caplog.text


def test_data_in_a_far_corner_of_emptiness_is_found() -> None:
    pixels = np.zeros((1, 12_000, 3000), np.uint16)
    valid = np.zeros((12_000, 3000), bool)
    pixels[0, -20:, -20:] = np.arange(400).reshape(20, 20) + 5000
    valid[-20:, -20:] = True
    assert stretch_of(pixels, valid, (64, 64)).low[0] >= 5000


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(RasterFitError, match="complex"):
        check_values(["uint8", "complex64"], name="raster")


def test_what_is_no_number_is_no_data() -> None:
    pixels = np.array([[[np.nan, np.inf, -3.4e38, 0, -5]]], np.float32)
    assert is_plausible(pixels).tolist() == [[[False, False, False, True, True]]]
