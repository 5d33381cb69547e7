"""A run that is killed at any moment and resumed gives what an unbroken run gives, and never a broken file meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio

import engine
from engine.errors import ArgumentError, CancelledError
from tests.engine.segmentation.colour_classes import ColourScores, EachTileItsOwn, landscape, values_of, write_landscape

# A process of its own, slow enough to be killed in the middle.
PROGRAM = """
import sys, engine
from tests.engine.segmentation.colour_classes import EachTileItsOwn
engine.segment(sys.argv[1], sys.argv[2], predictor=EachTileItsOwn(64, seconds=0.02), resume=len(sys.argv) > 3,
               probabilities="tree")
"""


def kill_after(project: Path, *arguments: object, log_bytes: int) -> None:
    """Run until the log of the progress file has so many bytes, then ``kill -9``."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)], cwd=project, env=environment)
    log, deadline = Path(f"{arguments[1]}.progress-wal"), time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        if log.exists() and log.stat().st_size > log_bytes:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_twice_and_resumed(project, tmp_path):
    """With scores that differ from tile to tile, so that a row of tiles that was left out or added twice would show."""
    raster = write_landscape(tmp_path / "land.tif", landscape(0, 700, 300))
    output = tmp_path / "out.tif"
    kill_after(project, raster, output, log_bytes=50_000)
    assert not output.exists() and Path(f"{output}.progress").exists()
    kill_after(project, raster, output, "--resume", log_bytes=30_000)
    assert not output.exists() and Path(f"{output}.progress").exists()
    options = {"predictor": EachTileItsOwn(64), "probabilities": "tree"}
    summary = engine.segment(raster, output, resume=True, **options)
    assert 0 < summary.tiles_seen < summary.tiles
    unbroken = engine.segment(raster, tmp_path / "unbroken.tif", **options)
    assert np.array_equal(values_of(output), values_of(tmp_path / "unbroken.tif"))
    assert summary.classes == unbroken.classes
    with rasterio.open(output) as resumed, rasterio.open(tmp_path / "unbroken.tif") as whole:
        assert resumed.overviews(1) == whole.overviews(1) and resumed.checksum(1) == whole.checksum(1)
    assert {path.name for path in tmp_path.iterdir()} == {"land.tif", "out.tif", "unbroken.tif"}


class Hesitant(EachTileItsOwn):
    """Take longer over each tile after some, so that a cancel comes between two of them."""

    def __init__(self, tiles: int) -> None:
        super().__init__(64)
        self._tiles = tiles

    def scores(self, tiles):
        time.sleep(0.5 * (len(self.batches) >= self._tiles))
        return super().scores(tiles)


def interrupted(raster: Path, output: Path, *, tiles: int = 30, **options) -> None:
    predictor = Hesitant(tiles)
    options = {"predictor": predictor, "cancel": lambda: len(predictor.batches) >= tiles, **options}
    with pytest.raises(CancelledError, match="rows of tiles are kept"):
        engine.segment(raster, output, **options)
    assert Path(f"{output}.progress").exists()


@pytest.mark.parametrize("options", [{}, {"overlap": 50}, {"gsd": 0.17}, {"gsd": 0.8, "overlap": 20}])
def test_the_rows_that_are_kept_and_those_that_follow_fit_together(tmp_path, options):
    raster = write_landscape(tmp_path / "land.tif", landscape(1, 400, 260))
    interrupted(raster, tmp_path / "out.tif", tiles=4 if options.get("gsd") == 0.8 else 30, **options)
    engine.segment(raster, tmp_path / "out.tif", predictor=EachTileItsOwn(64), resume=True, **options)
    engine.segment(raster, tmp_path / "unbroken.tif", predictor=EachTileItsOwn(64), **options)
    assert np.array_equal(values_of(tmp_path / "out.tif"), values_of(tmp_path / "unbroken.tif"))


def test_a_row_that_is_damaged_is_done_again(tmp_path):
    raster = write_landscape(tmp_path / "land.tif", landscape(2, 400, 260))
    interrupted(raster, tmp_path / "out.tif")
    with closing(sqlite3.connect(tmp_path / "out.tif.progress")) as connection, connection:
        assert connection.execute("SELECT count(*) FROM tiles").fetchone()[0] > 2
        connection.execute("UPDATE tiles SET pieces = ? WHERE tile = 1", [b"nonsense"])
    engine.segment(raster, tmp_path / "out.tif", predictor=EachTileItsOwn(64), resume=True)
    engine.segment(raster, tmp_path / "unbroken.tif", predictor=EachTileItsOwn(64))
    assert np.array_equal(values_of(tmp_path / "out.tif"), values_of(tmp_path / "unbroken.tif"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"overlap": 40}, "overlap was 32, is 40"),
        ({"predictor": ColourScores(64, identity="another model")}, "model was colours, is another model"),
        ({"classes": "road"}, "classes was not given, is road"),
        ({"probabilities": "TREE"}, "probabilities was none, is tree"),
        ({"extent": (360_000, 3_049_970, 360_030, 3_050_000)}, "part of the raster was 0 0 260 400"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, change, named):
    raster = write_landscape(tmp_path / "land.tif", landscape(3, 400, 260))
    interrupted(raster, tmp_path / "out.tif")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ArgumentError, match=named):
        engine.segment(raster, tmp_path / "out.tif", **{"predictor": EachTileItsOwn(64), "resume": True, **change})
    assert {path.name for path in tmp_path.iterdir()} == before
