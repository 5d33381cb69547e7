"""``maskdino evaluate-panoptic`` from outside."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from engine.commands import answer
from engine.errors import ArgumentError, CancelledError, RequestError
from engine.job import Job
from tests.training.evaluation.panoptic.panoptic_files import CATEGORIES, write_panoptic


@pytest.fixture
def files(tmp_path):
    """A picture whose road is found by half and a bit, whose car is missed, and which has no tree."""
    truth = np.array([[1] * 10, [2] * 10])
    found = np.array([[7] * 6 + [0] * 4, [0] * 10])
    road, car = {"id": 1, "category_id": 3}, {"id": 2, "category_id": 17}
    write_panoptic(tmp_path / "truth.json", {1: (truth, [road, car])}, categories=CATEGORIES)
    write_panoptic(tmp_path / "found.json", {1: (found, [{"id": 7, "category_id": 3}])})
    return tmp_path


def ask(files, *, cancelled=False, **more):
    job = Job(report=lambda progress: None, cancelled=threading.Event())
    if cancelled:
        job.cancelled.set()
    arguments = {"prediction": str(files / "found.json"), "truth": str(files / "truth.json"), **more}
    return answer("evaluate-panoptic", arguments, job)


def test_the_tables_are_those_of_the_papers(files):
    outputs = files / "figures.json", files / "confusion.csv"
    done = subprocess.run(
        [sys.executable, "-m", "engine", "evaluate-panoptic", files / "found.json", files / "truth.json",
         "--json", outputs[0], "--confusion", outputs[1]], capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[2:6] == [
        ["PQ", "SQ", "RQ", "classes"],
        ["All", "30.0", "30.0", "50.0", "2"],
        ["Things", "0.0", "0.0", "0.0", "1"],
        ["Stuff", "60.0", "60.0", "100.0", "1"],
    ]
    assert rows[7:9] == [["mIoU", "fwIoU", "mACC", "pACC"], ["30.0"] * 4]
    assert ["tree", "stuff", "-", "-", "-", "-", "0", "0", "0"] in rows
    document = json.loads(outputs[0].read_text())
    assert document["panoptic"]["all"] == {"pq": 0.3, "sq": 0.3, "rq": 0.5, "classes": 2}
    assert document["by_class"][2]["pq"] is None
    assert document == ask(files)
    table = list(csv.reader(outputs[1].read_text().splitlines()))
    assert table[1] == ["road", "6", "0", "0", "4"]


def test_outputs_are_no_inputs_and_a_cancelled_job_writes_nothing(files):
    with pytest.raises(ArgumentError, match="would be lost"):
        ask(files, json=str(files / "truth.json"))
    with pytest.raises(CancelledError, match="nothing was written"):
        ask(files, cancelled=True, json=str(files / "figures.json"))
    assert not (files / "figures.json").exists()
    with pytest.raises(RequestError, match="needs the argument 'truth'"):
        answer("evaluate-panoptic", {"prediction": "a"}, Job(report=lambda progress: None))
