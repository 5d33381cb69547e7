"""Run lengths are read as pycocotools writes them; rings are mended to what reads as sound."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as run_lengths

from training.data.coco.outlines import encoded_runs, mended_rings, polygon_of_rings, run_counts


@given(counts=st.lists(st.integers(1, 5000), min_size=1, max_size=12), first=st.booleans())
def test_runs_are_those_that_were_written(counts: list[int], first: bool) -> None:
    counts = [0, *counts] if first else counts
    values = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
    encoded = run_lengths.encode(np.asfortranarray(values[:, None]))
    assert run_counts(encoded["counts"]) == counts


@pytest.mark.parametrize("text", [b"P", b"12P", b" 1", b"1\x80"])
def test_what_is_no_run_length_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        run_counts(text)


@pytest.mark.parametrize("counts", [[3, 2, 4], [9], [0, 9]])
def test_runs_that_fill_a_mask_fill_it_and_no_other(counts: list[int]) -> None:
    packed = run_lengths.frPyObjects({"size": [3, 3], "counts": counts}, 3, 3)
    for form in (counts, packed["counts"].decode("ascii")):
        assert encoded_runs({"size": [3, 3], "counts": form}) == packed
        assert encoded_runs({"size": [2, 4], "counts": form}) is encoded_runs({"size": [2, 5], "counts": form}) is None


@pytest.mark.parametrize("counts", ["", [], "é", "P", [10, -1], [4.5, 4.5], [float("nan")], ["9"], b"9", None, 9])
def test_what_is_no_run_lengths_is_none(counts: object) -> None:
    assert encoded_runs({"size": [3, 3], "counts": counts}) is None


coordinates = st.one_of(st.integers(-10, 50).map(float), st.floats(-10, 50, allow_nan=False))


@given(
    rings=st.lists(
        st.lists(coordinates, min_size=6, max_size=16).map(lambda ring: ring[: len(ring) // 2 * 2]), min_size=1, max_size=3
    )
)
def test_mended_rings_cover_the_same_ground_and_do_not_cross_themselves(rings: list[list[float]]) -> None:
    mended = mended_rings(rings, 40, 40)
    assert all(shapely.is_valid(shapely.Polygon(np.reshape(ring, (-1, 2)))) for ring in mended)
    before, after = shapely.intersection(polygon_of_rings(rings), shapely.box(0, 0, 40, 40)), polygon_of_rings(mended)
    # Each point moves by less than the diagonal of a hundredth of a pixel, which moves the border by as much.
    assert shapely.symmetric_difference(before, after).area <= 0.02 * (before.length + after.length) + 0.01
