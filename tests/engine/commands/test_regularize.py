"""``maskdino regularize`` as a program, and in the service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import geopandas
import pytest
import shapely

from engine.commands import answer
from engine.job import Job

STAIRS = shapely.union_all([shapely.box(col, row, col + 1, row + 1) for row in range(20) for col in range(row // 7, 30)])


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    geopandas.GeoDataFrame({"name": ["barn"]}, geometry=[STAIRS], crs=32633).to_file(tmp_path / "in.gpkg")
    return tmp_path / "in.gpkg"


def maskdino(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "engine", "regularize", *map(str, words)], capture_output=True, text=True)


def test_a_layer_comes_out_and_one_line_says_what_became_of_it(layer: Path, tmp_path: Path) -> None:
    done = maskdino(layer, "-o", tmp_path / "out.geojson", "--detail", 3)
    assert done.returncode == 0, done.stderr
    assert "1 polygons redrawn, with 4 corners for 100; 1 features in" in done.stdout
    found = geopandas.read_file(tmp_path / "out.geojson")
    assert found["name"].tolist() == ["barn"] and found.geometry[0].area == pytest.approx(STAIRS.area, rel=0.05)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-o", "out.txt"], 1, "extension '.txt'"),
        (["-o", "out.gpkg", "--detail", "0"], 1, "detail is 0.0; it should be at least 0.001"),
        (["-o", "out.gpkg", "--outline", "raw"], 2, "raw"),
        ([], 2, "--output"),
    ],
)
def test_what_cannot_work_is_one_line(layer: Path, words: list[str], status: int, message: str) -> None:
    done = maskdino(layer, *words)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert sorted(path.name for path in layer.parent.iterdir()) == ["in.gpkg"]


def test_the_service_answers_with_the_same(layer: Path, tmp_path: Path) -> None:
    told: list[object] = []
    result = answer("regularize", {"layer": str(layer), "output": str(tmp_path / "out.gpkg")}, Job(report=told.append))
    assert (result["features"], result["redrawn"], result["output"]) == (1, 1, str(tmp_path / "out.gpkg"))
    assert [(progress.done, progress.total, progress.unit) for progress in told] == [(1, 1, "polygons")]
