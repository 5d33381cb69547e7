"""``maskdino evaluate-classes`` from outside."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from engine.commands import answer
from engine.errors import ArgumentError, CancelledError
from engine.job import Job
from tests.engine.raster.raster_files import write_raster


@pytest.fixture
def files(tmp_path):
    truth = np.array([[0, 0, 0, 0], [1, 1, 255, 3]], dtype=np.uint8)
    found = np.array([[0, 0, 1, 1], [1, 1, 2, 3]], dtype=np.uint8)
    write_raster(tmp_path / "truth.tif", truth[None])
    write_raster(tmp_path / "found.tif", found[None])
    return tmp_path


def ask(files, *, cancelled=False, **more):
    job = Job(report=lambda progress: None, cancelled=threading.Event())
    if cancelled:
        job.cancelled.set()
    arguments = {"prediction": str(files / "found.tif"), "truth": str(files / "truth.tif"), **more}
    return answer("evaluate-classes", arguments, job)


def test_it_prints_the_tables_and_writes_figures_and_matrix(files):
    outputs = files / "figures.json", files / "confusion.csv"
    done = subprocess.run(
        [sys.executable, "-m", "engine", "evaluate-classes", files / "found.tif", files / "truth.tif",
         "--classes", "grass,roof,road,water", "--ignore", "255, Water", "--json", outputs[0], "--confusion", outputs[1]],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert "6 pixels with a label, 2 classes" in done.stdout
    assert ["mIoU", "fwIoU", "mACC", "pACC"] in rows and ["50.0", "50.0", "75.0", "66.7"] in rows
    assert rows[-3:] == [["grass", "50.0", "50.0", "4"], ["roof", "50.0", "100.0", "2"], ["road", "-", "-", "0"]]
    document = json.loads(outputs[0].read_text())
    assert document["figures"]["mean_iou"] == 0.5
    assert document == ask(files, classes="grass,roof,road,water", ignore="255,Water")
    table = list(csv.reader(outputs[1].read_text().splitlines()))
    assert table[0][1:] == ["grass", "roof", "road", "(none)"] and table[1] == ["grass", "2", "2", "0", "0"]


def test_outputs_are_no_inputs_and_a_cancelled_job_writes_nothing(files):
    with pytest.raises(ArgumentError, match="would be lost"):
        ask(files, confusion=str(files / "found.tif"))
    with pytest.raises(CancelledError, match="nothing was written"):
        ask(files, cancelled=True, json=str(files / "figures.json"))
    assert not (files / "figures.json").exists()
