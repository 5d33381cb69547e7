"""The weights of a working pixel follow from its place alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.raster.resampling import AxisResampling, resample, resample_valid

axes = st.builds(AxisResampling, st.integers(1, 90), st.integers(1, 90))


@given(axes, st.data())
def test_weights_of_a_part_are_those_of_the_whole(axis: AxisResampling, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, axis.length - 1))
    stop = data.draw(st.integers(start + 1, axis.length))
    low, high = axis.source_span(start, stop)
    part = axis.weights(start, stop).toarray()
    everything = axis.weights(0, axis.length).toarray()
    np.testing.assert_array_equal(part, everything[start:stop, low:high])
    assert not everything[start:stop, :low].any() and not everything[start:stop, high:].any()


@given(axes)
def test_weights_are_positive_and_sum_to_one(axis: AxisResampling) -> None:
    weights = axis.weights(0, axis.length).toarray()
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


@given(st.integers(1, 60), st.integers(1, 60))
def test_averaging_uses_each_source_pixel_equally(source: int, length: int) -> None:
    if length > source:
        source, length = length, source
    weights = AxisResampling(source, length).weights(0, length).toarray()
    np.testing.assert_allclose(weights.sum(axis=0), length / source, rtol=1e-5)


@pytest.mark.parametrize(("source", "length", "method"), [(9, 9, "none"), (9, 4, "average"), (9, 20, "bilinear")])
def test_the_method_is_named(source: int, length: int, method: str) -> None:
    assert AxisResampling(source, length).method == method


def test_halving_is_the_mean_of_each_pair() -> None:
    ramp = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    result = resample(ramp, AxisResampling(3, 3).weights(0, 3), AxisResampling(4, 2).weights(0, 2))
    np.testing.assert_allclose(result, [[[0.5, 2.5], [4.5, 6.5], [8.5, 10.5]]])


def test_interpolation_keeps_a_ramp_a_ramp_and_its_place() -> None:
    ramp = np.tile((np.arange(20, dtype=np.float32) + 0.5) / 20, (1, 4, 1))
    result = resample(ramp, AxisResampling(4, 4).weights(0, 4), AxisResampling(20, 50).weights(0, 50))
    centres = (np.arange(50) + 0.5) / 50
    np.testing.assert_allclose(result[0, 0, 2:-2], centres[2:-2], atol=1e-6)


@pytest.mark.parametrize("length", [7, 30])
def test_what_has_no_data_bleeds_into_nothing(length: int) -> None:
    valid = np.ones((20, 20), bool)
    valid[5:9, 4:13] = False
    pixels = np.where(valid, np.float32(200), np.float32(0))[None]
    weights = AxisResampling(20, length).weights(0, length)
    values, kept = resample_valid(pixels, valid, weights, weights)
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(values[:, kept], 200, rtol=1e-6)
