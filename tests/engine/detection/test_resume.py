"""A run that is killed at any moment and resumed gives what an unbroken run gives, and never a broken file meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest

import engine
from engine.errors import ArgumentError
from tests.engine.detection.label_raster import LabelPredictor, rows_of, truth_of, write_label_raster
from tests.engine.detection.label_towns import shapes_town

# A process of its own, slow enough to be killed in the middle.
PROGRAM = """
import sys, engine
from tests.engine.detection.label_raster import LabelPredictor
engine.detect(sys.argv[1], sys.argv[2], predictor=LabelPredictor(64, seconds=0.02), overlap=32, outline="raw", min_area=0,
              resume=len(sys.argv) > 3)
"""


def start(project, *arguments) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)], cwd=project, env=environment)


def wait_for_progress(process: subprocess.Popen, checkpoint: Path, *, larger_than: int = 0) -> None:
    """Wait until the write-ahead log of a checkpoint has grown."""
    log = Path(f"{checkpoint}-wal")
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.stat().st_size > larger_than:
            return
        time.sleep(0.01)
    pytest.fail("the run ended before it could be killed")


@pytest.fixture
def labels():
    return shapes_town(np.random.default_rng(11), 400, 500)


@pytest.mark.slow
def test_killed_twice_and_resumed(project, tmp_path, labels):
    raster = write_label_raster(tmp_path / "town.tif", labels)
    output, checkpoint = tmp_path / "out.gpkg", tmp_path / "out.gpkg.progress"
    for arguments, size in (([raster, output], 60_000), ([raster, output, "--resume"], 60_000)):
        process = start(project, *arguments)
        wait_for_progress(process, checkpoint, larger_than=size)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not output.exists()
        assert checkpoint.exists()
    predictor = LabelPredictor(64)
    summary = engine.detect(raster, output, predictor=predictor, overlap=32, outline="raw", min_area=0, resume=True)
    assert 0 < summary.tiles_seen < summary.tiles
    assert rows_of(output) == truth_of(labels)

    unbroken = tmp_path / "unbroken.gpkg"
    engine.detect(raster, unbroken, predictor=LabelPredictor(64), overlap=32, outline="raw", min_area=0)
    assert geopandas.read_file(output).equals(geopandas.read_file(unbroken))  # order, and so feature ids, included
    assert {path.name for path in tmp_path.iterdir()} == {"town.tif", "out.gpkg", "unbroken.gpkg"}


def interrupted(raster: Path, output: Path, **arguments) -> None:
    """Run up to the tenth batch."""
    predictor = LabelPredictor(64, seconds=0.01)
    engine.detect(
        raster, output, predictor=predictor, cancel=lambda: len(predictor.batches) > 10, **{"overlap": 32, **arguments}
    )
    assert output.with_name(f"{output.name}.progress").exists()


def test_another_outline_may_be_asked_for_on_resume(tmp_path, labels):
    raster = write_label_raster(tmp_path / "town.tif", labels)
    interrupted(raster, tmp_path / "out.gpkg", outline="simplified", min_area=20)
    engine.detect(
        raster, tmp_path / "out.gpkg", predictor=LabelPredictor(64), overlap=32, outline="raw", min_area=0, resume=True
    )
    assert rows_of(tmp_path / "out.gpkg") == truth_of(labels)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"score": 0.6}, "score was 0.5, is 0.6"),
        ({"overlap": 40}, "overlap was 32, is 40"),
        ({"predictor": LabelPredictor(64, identity="another model")}, "model was labels, is another model"),
        ({"predictor": LabelPredictor(70)}, "tile size was 64, is 70"),
        ({"bands": "3,2,1"}, "bands was chosen by the program, is 3,2,1"),
        ({"extent": (500_000, 4_999_900, 500_100, 5_000_000)}, "part of the raster was 0 0 500 400"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, labels, change, named):
    raster = write_label_raster(tmp_path / "town.tif", labels)
    interrupted(raster, tmp_path / "out.gpkg")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ArgumentError, match=named):
        engine.detect(
            raster, tmp_path / "out.gpkg", **{"predictor": LabelPredictor(64), "overlap": 32, "resume": True, **change}
        )
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_raster_that_changed_is_refused(tmp_path, labels):
    raster = write_label_raster(tmp_path / "town.tif", labels)
    interrupted(raster, tmp_path / "out.gpkg")
    write_label_raster(raster, labels[::-1])
    with pytest.raises(ArgumentError, match="of the raster file was"):
        engine.detect(raster, tmp_path / "out.gpkg", predictor=LabelPredictor(64), overlap=32, resume=True)


def test_without_resume_it_starts_afresh(tmp_path, labels, caplog):
    caplog.set_level("INFO", "engine")
    raster = write_label_raster(tmp_path / "town.tif", labels)
    interrupted(raster, tmp_path / "out.gpkg")
    summary = engine.detect(raster, tmp_path / "out.gpkg", predictor=LabelPredictor(64), overlap=32, outline="raw", min_area=0)
    assert summary.tiles_seen == summary.tiles
    assert rows_of(tmp_path / "out.gpkg") == truth_of(labels)
    assert "--resume would have gone on" in caplog.text
