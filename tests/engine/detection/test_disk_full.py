"""A disk that fills up in the middle of a run: one clear error, and what stood under the output's name still does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import engine
from engine.errors import OutputError
from tests.engine.detection.label_raster import LabelPredictor, rows_of, write_label_raster
from tests.engine.detection.label_towns import cells_town

KIBIBYTE = 1024


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")
@pytest.mark.parametrize("size", [40 * KIBIBYTE, 120 * KIBIBYTE, 160 * KIBIBYTE, 200 * KIBIBYTE])
def test_one_clear_error_and_nothing_broken(small_disk, tmp_path, size):
    """Whichever of checkpoint and layer meets the end of the disk."""
    labels = np.kron(np.arange(16).reshape(4, 4) * 50, np.ones((100, 100), int)) + 1
    labels = (labels + np.tile(cells_town(np.random.default_rng(0), 100, 100), (4, 4))) * (
        np.indices((400, 400)).sum(0) % 7 > 1
    )
    raster = write_label_raster(tmp_path / "town.tif", labels)
    arguments = {"overlap": 32, "outline": "raw", "min_area": 0}
    engine.detect(raster, tmp_path / "enough.gpkg", predictor=LabelPredictor(64), **arguments)
    disk = small_disk(size)
    before = b"an older result"
    if size > 100 * KIBIBYTE:
        (disk / "out.gpkg").write_bytes(before)
    with pytest.raises(OutputError) as caught:
        engine.detect(raster, disk / "out.gpkg", predictor=LabelPredictor(64), **arguments)
    assert "\n" not in str(caught.value)
    names = {path.name for path in disk.iterdir()}
    assert not any(".part" in name for name in names)
    if size > 100 * KIBIBYTE:
        assert (disk / "out.gpkg").read_bytes() == before
    else:
        assert "out.gpkg" not in names

    subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)  # room was made: nothing is lost
    engine.detect(raster, disk / "out.gpkg", predictor=LabelPredictor(64), resume=True, **arguments)
    assert rows_of(disk / "out.gpkg") == rows_of(tmp_path / "enough.gpkg")
    assert [path.name for path in disk.iterdir()] == ["out.gpkg"]
