"""Footprints made in other processes are those made here, and no process outlives the program or takes it down in silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import shapely

import engine
from engine.detection import outline_workers
from engine.detection.footprints import FootprintMaker
from engine.detection.merging.tile_instances import Building
from engine.detection.outline_workers import OutlineWorkers
from engine.detection.settings import Settings
from engine.errors import MaskDinoError
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from engine.vector.area_of_interest import AreaOfInterest
from tests.engine.detection.label_raster import LabelPredictor, write_label_raster
from tests.engine.detection.label_towns import TOWNS

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells which processes there are")
PROJECT = Path(__file__).resolve().parents[3]


def town(seed: int = 0, side: int = 300) -> np.ndarray:
    return TOWNS["shapes"](np.random.default_rng(seed), side, side)


def buildings_of(labels: np.ndarray) -> list[Building]:
    found = []
    for number in np.unique(labels[labels > 0]):
        rows, cols = np.nonzero(labels == number)
        box = np.s_[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        found.append(Building(int(cols.min()), int(rows.min()), labels[box] == number, float(number % 7) / 7, 0))
    return found


@pytest.fixture
def maker(tmp_path) -> FootprintMaker:
    raster = write_label_raster(tmp_path / "town.tif", town())
    with RasterSource.open(raster) as source:
        grid = TileGrid(300, 300, tile_size=64, overlap=32, transform=source.transform)
        area = AreaOfInterest(shapely.Point(150, 150).buffer(120), width=300, height=300)
        return FootprintMaker(grid=grid, source=source, area=area, settings=Settings(min_area=3.0))


def test_footprints_are_those_made_here(maker) -> None:
    buildings = buildings_of(town())
    processes = OutlineWorkers(maker)
    try:
        for some in (buildings, buildings[:1], []):
            here, there = maker.footprints_of(some), processes.footprints_of(some)
            assert (0 < len(here) < len(buildings)) == bool(some)  # some lie outside the area
            assert shapely.equals_exact(here.geometries, there.geometries).all()
            np.testing.assert_array_equal(here.scores, there.scores)
            np.testing.assert_array_equal(here.areas, there.areas)
        simplified = processes.footprints_of(buildings, cancelling=lambda: True)
        assert len(simplified) > 0
    finally:
        processes.close()


def test_a_process_that_ends_is_one_clear_error(maker) -> None:
    processes = OutlineWorkers(maker)
    processes.footprints_of(buildings_of(town())[:3])
    (process,) = processes._all
    process._process.kill()
    with pytest.raises(MaskDinoError, match=r"A process that draws outlines ended with status .* --workers"):
        processes.footprints_of(buildings_of(town()))
    processes.close()  # in silence, whatever it had not been told


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("raise SystemExit(3)", "ended with status 3"),
        ("print('could not load a plugin')", "gave what is no answer|ended with status 0"),
        ("import os; os.write(1, b'could not load a plugin')", "gave what is no answer"),
    ],
)
def test_a_process_that_cannot_start_is_one_clear_error(maker, monkeypatch, start: str, message: str) -> None:
    monkeypatch.setattr(outline_workers, "_START", start)
    processes = OutlineWorkers(maker)
    with pytest.raises(MaskDinoError, match=message):
        processes.footprints_of(buildings_of(town()))
    processes.close()


def test_it_imports_nothing_from_the_folder_that_it_is_started_in(maker, tmp_path, monkeypatch) -> None:
    (tmp_path / "pandas.py").write_text("raise SystemExit('this is not a module of the program')")
    (tmp_path / "engine.py").write_text("raise SystemExit('nor is this')")
    monkeypatch.chdir(tmp_path)
    processes = OutlineWorkers(maker)
    try:
        assert len(processes.footprints_of(buildings_of(town()))) > 0
    finally:
        processes.close()


def test_in_a_hurry_none_is_started(maker, monkeypatch) -> None:
    monkeypatch.setattr(outline_workers, "_START", "raise SystemExit(3)")
    processes = OutlineWorkers(maker)
    buildings = buildings_of(town())
    found = processes.footprints_of(buildings, cancelling=lambda: True)
    assert shapely.equals_exact(found.geometries, maker.footprints_of(buildings, cancelling=lambda: True).geometries).all()


def test_what_goes_wrong_there_is_said_here(maker) -> None:
    processes = OutlineWorkers(maker)
    try:
        with pytest.raises(MaskDinoError, match="Outlines cannot be drawn"):
            processes.footprints_of([Building(0, 0, np.zeros((0, 0), bool), 0.5, 0)])  # there is no such building
        assert len(processes.footprints_of(buildings_of(town()))) > 0  # and no more than that
    finally:
        processes.close()


@linux
def test_a_run_that_fails_for_it_leaves_nothing_under_the_name(tmp_path) -> None:
    raster = write_label_raster(tmp_path / "town.tif", town(side=600))

    class Assassin(LabelPredictor):
        def predict(self, tiles):
            for child in _children(os.getpid()):
                if "outline_workers" in _command(child):
                    os.kill(child, signal.SIGKILL)
            return super().predict(tiles)

    with pytest.raises(MaskDinoError, match="ended with status -9"):
        engine.detect(raster, tmp_path / "out.gpkg", predictor=Assassin(seconds=0.05), overlap=32, workers=2)
    assert not (tmp_path / "out.gpkg").exists()


SCRIPT = """
import engine
from tests.engine.detection.label_raster import LabelPredictor

predictor = LabelPredictor(seconds={seconds})
summary = engine.detect({raster!r}, {output!r}, predictor=predictor, overlap=32, workers=2, batch_size=1)
print(summary.buildings)
"""


def script(tmp_path: Path, *, seconds: float) -> list[str]:
    """Write a user's script: without the guard that Python's own pools ask for, in a folder of a difficult name."""
    folder = tmp_path / "mes scripts é"
    folder.mkdir()
    raster = write_label_raster(folder / "town.tif", town(side=600))
    text = SCRIPT.format(seconds=seconds, raster=str(raster), output=str(folder / "out.gpkg"))
    (folder / "run.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return [sys.executable, str(folder / "run.py")]


@pytest.mark.slow
def test_a_script_of_two_lines_will_do(tmp_path) -> None:
    command = script(tmp_path, seconds=0.0)
    variables = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=command[1].rpartition(os.sep)[0], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


@linux
@pytest.mark.slow
def test_no_process_outlives_a_program_that_is_killed(tmp_path) -> None:
    process = subprocess.Popen(script(tmp_path, seconds=0.1), env={**os.environ, "PYTHONPATH": str(PROJECT)})
    try:
        helpers = _wait_for(lambda: [child for child in _children(process.pid) if "outline_workers" in _command(child)])
    finally:
        process.kill()
        process.wait()
    _wait_for(lambda: not any(Path(f"/proc/{helper}").exists() for helper in helpers))


def _wait_for(condition, *, seconds: float = 30.0):
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass")


def _children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
