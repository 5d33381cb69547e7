"""``maskdino segment`` as a process: what it prints, how it ends, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio

from tests.engine.detection.repeated_raster import write_repeated


def segment(*arguments, cwd=None) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "engine", "segment", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, cwd=cwd)


@pytest.mark.slow
def test_a_class_raster_and_what_it_shows(scene, semantic_model, tmp_path):
    output = tmp_path / "classes.tif"
    done = segment(scene, "-o", output, "--model", semantic_model)
    assert (done.returncode, done.stderr) == (0, "")
    with rasterio.open(output) as dataset, rasterio.open(scene) as source:
        assert (dataset.shape, dataset.transform, dataset.crs) == (source.shape, source.transform, source.crs)
        counts = np.bincount(dataset.read(1).ravel(), minlength=256)
    *classes, last = [line for line in done.stdout.splitlines() if "pixels" in line or "MPix/s" in line]
    assert sum(int(line.split()[1].replace(",", "")) for line in classes) == counts[:255].sum() == 300 * 300
    assert last.startswith(f"{np.count_nonzero(counts)} classes in {output}; ") and last.endswith(" on cpu")


@pytest.mark.slow
def test_json_lines(scene, semantic_model, tmp_path):
    extent = ("--extent", 500_010, 4_999_950, 500_040, 4_999_980)
    done = segment(
        scene, "-o", tmp_path / "p.tif", "--model", semantic_model, "--probabilities", "tree", "--json-lines", *extent
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "result" and list(events[-1]["classes"]) == ["tree"]
    assert any(event["event"] == "progress" and event["note"].endswith("MPix") for event in events)
    failed = segment(scene, "-o", tmp_path / "p.png", "--model", semantic_model, "--json-lines")
    error = json.loads(failed.stdout.splitlines()[-1])
    assert (failed.returncode, error["event"], error["code"]) == (1, "error", "argument")
    assert failed.stderr.startswith("maskdino: ") and len(failed.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a signal of POSIX")
def test_ctrl_c_leaves_what_is_done_for_resume(scene, semantic_model, tmp_path):
    raster = write_repeated(tmp_path / "large.vrt", scene, width=300, height=1500)
    arguments = [str(raster), "-o", str(tmp_path / "out.tif"), "--model", str(semantic_model)]
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "segment", *arguments, "--json-lines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while True:
        event = json.loads(process.stdout.readline())
        if event["event"] == "progress" and event["done"] > 20:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    *_, last = process.stdout
    assert json.loads(last)["event"] == "cancelled"
    assert process.wait(timeout=10) == 130 and time.monotonic() - began < 2.5
    assert b"--resume goes on" in process.stderr.read()
    assert {path.name for path in tmp_path.iterdir()} == {"large.vrt", "out.tif.progress"}
    done = segment(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"large.vrt", "out.tif", "out.tif.aux.xml"}


@pytest.mark.parametrize(
    "arguments",
    [(), ("a.tif",), ("a.tif", "-o", "b.tif", "--wobble"), ("a.tif", "-o", "b.tif", "--precision", "half"),
     ("a.tif", "-o", "b.tif", "--classes", "a", "--probabilities", "b"),
     ("a.tif", "-o", "b.tif", "--aoi", "c.gpkg", "--extent", "1", "2", "3", "4")],
)  # fmt: skip
def test_wrong_usage_is_status_2(arguments, tmp_path):
    done = segment(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_model_one_line_says_which_could(scene, tmp_path):
    done = segment(scene, "-o", tmp_path / "out.tif")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "mask2former_dinatl_semantic" in done.stderr
