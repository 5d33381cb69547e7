"""Run lengths read as pycocotools writes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as run_lengths

from training.data.coco.run_counts import run_counts, runs_fill


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
    packed = run_lengths.frPyObjects({"size": [3, 3], "counts": counts}, 3, 3)["counts"]
    for form in (counts, packed, packed.decode("ascii")):
        assert runs_fill(form, 9)
        assert not runs_fill(form, 8) and not runs_fill(form, 10)


@pytest.mark.parametrize("counts", ["", [], "é", "P", [10, -1], b"\xff"])
def test_what_is_no_run_lengths_fills_nothing(counts: str | bytes | list[int]) -> None:
    assert not runs_fill(counts, 9)
