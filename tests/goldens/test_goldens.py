"""The recordings in this folder hold what the originals hold, wherever these lie beside the checkout."""

from __future__ import annotations

import numpy as np
import pytest

from tests.goldens.recordings import BESIDE, HERE, read_recording
from tests.goldens.shrink import INFERENCE, MODELS, OPERATOR, TRAINING, inference, with_fewer_heads

needs_originals = pytest.mark.skipif(not BESIDE.is_dir(), reason="the originals are not here: ../shared/parity")


def test_they_are_small() -> None:
    """A clone carries them forever."""
    assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) < 3.5 * 2**20


@needs_originals
@pytest.mark.parametrize("stem", [*INFERENCE, *TRAINING, OPERATOR])
def test_recordings_are_cut_from_the_originals_and_from_nothing_else(stem: str) -> None:
    small, original = read_recording(HERE / f"{stem}.npz"), dict(np.load(BESIDE / f"{stem}.npz"))
    if stem == OPERATOR:
        original = with_fewer_heads(original)
    elif stem in INFERENCE:
        original = inference(stem, original)
    else:
        del small["meta"], original["meta"]  # without a path of the machine that it was recorded on
    assert small.keys() == original.keys()
    for name, array in original.items():
        assert small[name].dtype == array.dtype, name
        np.testing.assert_array_equal(small[name], array, err_msg=name)


@needs_originals
@pytest.mark.parametrize("model", MODELS)
def test_names_are_those_of_the_originals(model: str) -> None:
    name = f"{model}.keys.json"
    assert (HERE / name).read_bytes() == (BESIDE / name).read_bytes()
